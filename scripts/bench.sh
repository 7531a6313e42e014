#!/bin/sh
# The benchmarks: builds in the release profile, runs each set of measurements, leaves the figures
# as JSON. Needs two cores with nothing else to do; docs/benchmarks.md says how to read the result.
#   BENCH_VIEWERS=200,800   other numbers of viewers
#   BENCH_CHURN=60          seconds of coming and going instead of 600; 0 leaves it out
#   PEERS=janus             measures Janus, too, in the same run and by the same viewers
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
viewers=${BENCH_VIEWERS:-10,50,100,200,400,800,1600}
churn=${BENCH_CHURN:-600}
peers=${PEERS:-}

case "$peers" in
'') ;;
janus)
    if ! command -v janus >/dev/null; then
        echo "bench: PEERS=janus needs Janus 1.x: \`apt-get install janus\` on Debian and Ubuntu" >&2
        echo "bench: (its service is not needed: \`systemctl disable --now janus\`)" >&2
        exit 1
    fi
    ;;
*)
    echo "bench: PEERS=$peers is not known; there is: janus" >&2
    exit 64
    ;;
esac

make --no-print-directory build PROFILE=release
# Ratios count within one run only.
rm -f "$target"/bench/*.json
bench() {
    name=$1
    title=$2
    what=$3
    shift 3
    printf '\n%s\n' "$title"
    "$target/release/soleil-bench" "$what" --json "$target/bench/$name.json" "$@"
}
bench planner "the planner: whole plans, and one node that comes or goes" planner
bench ladder "a ladder: 360p made of 720p30 in real time" ladder
bench leaf "2.5 Mbit/s, frames at once, viewers merge what they receive (GRO)" leaf -n "$viewers"
bench leaf-no-gro "the same, viewers without GRO" leaf -n 200 --no-gro
# Beside what it is compared with: the machine drifts.
if [ "$peers" = janus ]; then
    bench janus "Janus, event_loops=1, 2.5 Mbit/s, viewers with GRO" janus -n 100,200
    bench janus-no-gro "the same, viewers without GRO" janus -n 200 --no-gro
fi
bench leaf-paced "2.5 Mbit/s, the source spreads its frames" leaf -n 200 --paced
bench leaf-600k "600 kbit/s" leaf -n 200,800 --bitrate 600000
bench leaf-twcc "2.5 Mbit/s, viewers give transport-wide feedback, the leaf estimates" leaf -n 200,800 --twcc
bench storm "500 join within a second beside 200 viewers" storm -n 200 --joins 500
bench siege "attacks beside 200 viewers, 50,000 requests or datagrams each" siege -n 200 --sent 50000
[ "$churn" = 0 ] ||
    bench churn "50 come and go a second beside 200 viewers" churn -n 200 --joins 50 --seconds "$churn"
printf '\n'
"$target/release/soleil-bench" plot --figures "$target/bench"
if [ "$peers" = janus ]; then "$target/release/soleil-bench" compare --figures "$target/bench" -n 200; fi
