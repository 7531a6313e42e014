#!/usr/bin/env bash
# Short fuzzing of every parser. Called by `make fuzz`; FUZZ_SECONDS is for each target.
set -euo pipefail
cd "$(dirname "$0")/.."
exec fuzz/run.sh "${FUZZ_SECONDS:-30}"
