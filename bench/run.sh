#!/usr/bin/env bash
# Times kernels and whole steps on this machine, relative to the peak of a product and a copy:
#   bench/run.sh [--json FILE] [--plot PATH] [--quick] [--benchmark_filter=REGEX] ...
#     --json FILE   the results as a JSON array (build/bench/bench.json)
#     --plot PATH   plots the growth with T, V, C and threads: PATH.svg, PATH.png (needs matplotlib)
#     --quick       a tenth of the time per benchmark, and one number of threads
# Builds and runs kernels_bench and steps_bench; other arguments are passed to Google Benchmark.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
build="$here/../build/bench"
json="$build/bench.json" plot="" seconds=0.5 counts=1
arguments=()
while (($# > 0)); do
  case $1 in
    --json) json=$2; shift 2 ;;
    --plot) plot=$2; shift 2 ;;
    --quick) seconds=0.05 counts=0; shift ;;
    --help | -h) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) arguments+=("$1"); shift ;;
  esac
done
cmake -S "$here/.." -B "$build" -DCMAKE_BUILD_TYPE=Release -DREFRAIN_TESTS=OFF -DREFRAIN_EXAMPLES=OFF -DREFRAIN_BENCH=ON \
  -DREFRAIN_CUDA=OFF > /dev/null
cmake --build "$build" --target kernels_bench steps_bench -j"$(nproc)" >&2

parts=()
# suite NAME PROGRAM THREADS [arguments]: runs a program and keeps its results.
suite() {
  local part="$build/$1_$3.json"
  REFRAIN_THREADS=$3 "$build/bench/$2" --benchmark_min_time="$seconds" --benchmark_out="$part" --benchmark_out_format=json \
    "${@:4}" "${arguments[@]}" >&2
  parts+=("$1=$part")
}
threads=${REFRAIN_THREADS:-$(nproc)}
suite kernels kernels_bench "$threads"
suite steps steps_bench "$threads"
if ((counts && threads > 1)); then
  suite steps steps_bench 1 '--benchmark_filter=^(nextitnet|peterrec-serial|cmnrec|srmn)/(train|infer)/B:128/.*'
fi
python3 "$here/join_results.py" "$json" "${parts[@]}"
python3 "$here/table.py" "$json" ${plot:+--plot "$plot"}
