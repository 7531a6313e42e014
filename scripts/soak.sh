#!/usr/bin/env bash
# The long runs of failing over; docs/failover.md says how to read them. Each says how often:
#   SOAK_KILLS  relays that are killed             (200)
#   SOAK_STOPS  relays that are stopped            (50)
#   SOAK_HOLES  relays that the network swallows   (50)
#   SOAK_UPLINKS relays that lose their way to the root (50)
#   SOAK_DRAINS relays that are told to leave      (50)
#   SOAK_ROOTS  roots that are killed and started again (25)
#   SOAK_MOVES  moves: half of them single leaves, half of them a relay with all leaves (100)
# 0 leaves it out. One event takes six to seven seconds, so all of it takes about an hour.
set -uo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
make --no-print-directory build PROFILE=release || exit
mkdir -p "$target/bench"
bad=()
soak() {
    event=$1
    times=$2
    [ "$times" = 0 ] && return
    printf '\n'
    "$target/release/soleil-soak" "$event" --times "$times" \
        --json "$target/bench/soak-$event.json" || bad+=("$event")
}
moves=${SOAK_MOVES:-100}
soak kill "${SOAK_KILLS:-200}"
soak stop "${SOAK_STOPS:-50}"
soak blackhole "${SOAK_HOLES:-50}"
soak uplink "${SOAK_UPLINKS:-50}"
soak drain "${SOAK_DRAINS:-50}"
soak move $((moves / 2))
soak subtree $((moves - moves / 2))
soak root "${SOAK_ROOTS:-25}"
if [ ${#bad[@]} -gt 0 ]; then
    echo "failed: ${bad[*]}" >&2
    exit 1
fi
