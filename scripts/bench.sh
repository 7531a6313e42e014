#!/bin/sh
# The benchmarks: builds in the release profile, runs each set of measurements, leaves the figures
# as JSON. Needs two cores with nothing else to do; docs/benchmarks.md says how to read the result.
#   BENCH_VIEWERS=200,800   other numbers of viewers
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
viewers=${BENCH_VIEWERS:-10,50,100,200,400,800,1600}

make --no-print-directory build PROFILE=release
bench() {
    name=$1
    title=$2
    shift 2
    printf '\n%s\n' "$title"
    "$target/release/soleil-bench" leaf --json "$target/bench/$name.json" "$@"
}
bench leaf "2.5 Mbit/s, frames at once, viewers merge what they receive (GRO)" -n "$viewers"
bench leaf-no-gro "the same, viewers without GRO" -n 200 --no-gro
bench leaf-paced "the same, the source spreads its frames" -n 200 --paced
bench leaf-600k "600 kbit/s" -n 200,800 --bitrate 600000
