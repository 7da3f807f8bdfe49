#!/usr/bin/env bash
# Speed-ups of CmnRec's chunks over memory access at every time step, at the paper's shapes:
#   bench/chunk_speedup.sh [--json FILE] [--full] [--batch N] [--seconds S]
#                          [--benchmark_filter=REGEX]
# Builds and runs chunk_bench. Default: inference and training with sampled negatives for every
# number of slots, the other losses for the largest of each set; --full runs all.
# plot_chunk_speedup.py FILE --out docs/chunk_speedup draws the figure.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 0
fi
build="$here/../build/bench"
cmake -S "$here/.." -B "$build" -DCMAKE_BUILD_TYPE=Release -DREFRAIN_TESTS=OFF -DREFRAIN_EXAMPLES=OFF -DREFRAIN_BENCH=ON \
  -DREFRAIN_CUDA=OFF >/dev/null
cmake --build "$build" --target chunk_bench -j"$(nproc)" >&2
exec "$build/bench/chunk_bench" "$@"
