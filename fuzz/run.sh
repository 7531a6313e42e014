#!/usr/bin/env bash
# Fuzzes for a while: fuzz/run.sh [SECONDS [TARGET...]]; 30 seconds for each target by default.
#
# Stable Rust and a C++ compiler are enough: the coverage counters that libFuzzer needs are LLVM
# passes that any rustc has. (Only its sanitizers need nightly; code without `unsafe` gains little
# from them.) What is found lands in fuzz/artifacts/TARGET; put it into fuzz/corpus/TARGET when it
# is mended. The committed corpus is only read; new inputs are collected under fuzz/target.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-30}
[ $# -gt 0 ] && shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

target_dir=${FUZZ_TARGET_DIR:-target}
host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz sets, without the sanitizer.
flags=(--cfg fuzzing -Cpasses=sancov-module)
for pass in level=4 inline-8bit-counters pc-table trace-compares; do
  flags+=("-Cllvm-args=-sanitizer-coverage-$pass")
done
# With --target the flags stay away from build scripts.
RUSTFLAGS="${flags[*]}" cargo build --bins --target "$host" --target-dir "$target_dir"

for target in "${targets[@]}"; do
  mkdir -p "$target_dir/corpus/$target" "artifacts/$target" "corpus/$target"
  extra=()
  [ -f "dictionaries/$target.dict" ] && extra+=("-dict=dictionaries/$target.dict")
  echo "== $target: $seconds s"
  "$target_dir/$host/debug/$target" "${extra[@]}" -max_total_time="$seconds" -max_len=16384 \
    -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 -print_funcs=0 \
    -artifact_prefix="artifacts/$target/" "$target_dir/corpus/$target" "corpus/$target" \
    2>&1 | sed '/^###### Recommended dictionary/,/^###### End of recommended/d'
done
