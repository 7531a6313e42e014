#!/bin/sh
# Plays every scenario of the simulator; docs/scenarios.md says what happens in each. Leaves tables,
# JSON and pictures in target/scenarios.
#   SCENARIO=region    one of them instead of all
#   SEED=7             another history
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
cargo build --package soleil-tests --bin soleil-scenarios
# The nodes' own warnings are part of the play.
RUST_LOG=${RUST_LOG:-error} "$target/debug/soleil-scenarios" run "${SCENARIO:-all}" \
    --seed "${SEED:-1}" --out "$target/scenarios"
