#!/usr/bin/env bash
# The long runs of failing over; docs/failover.md says how to read them.
# SOAK_KILLS, SOAK_STOPS and SOAK_MOVES say how often each event happens; 0 leaves it out.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
make --no-print-directory build PROFILE=release
mkdir -p "$target/bench"
soak() {
    event=$1
    times=$2
    [ "$times" = 0 ] && return
    printf '\n'
    "$target/release/soleil-soak" "$event" --times "$times" --json "$target/bench/soak-$event.json"
}
soak kill "${SOAK_KILLS:-200}"
soak stop "${SOAK_STOPS:-50}"
soak drain "${SOAK_MOVES:-100}"
