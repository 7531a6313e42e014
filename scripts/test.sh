#!/usr/bin/env bash
# Runs every test. Called by `make test`, which has installed what is needed.
#
# The Rust tests come last, so that the run ends with their runner's own summary line.
set -euo pipefail
cd "$(dirname "$0")/.."

make --no-print-directory web
(cd web && npm run --silent test)
(cd tests/browser && npm run --silent test)

# The end-to-end tests start these.
cargo build --workspace --bins

if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace "$@"
else
  # One test at a time: the end-to-end tests need the machine for themselves.
  cargo test --workspace --no-fail-fast "$@" -- --test-threads=1
fi
