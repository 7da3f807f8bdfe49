#!/usr/bin/env bash
# Compares Refrain with PyTorch on the same machine in the same run:
#   bench/against_pytorch.sh --peers DIR [--json FILE] [--models srmn,cmnrec] [--quick] ...
# DIR contains the peer's reference.py and bench_cpu_gpu.py. Needs a python3 with torch: $PYTHON,
# default python3.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-python3}"
if ! "$python" -c 'import torch' 2>/dev/null; then
  echo "against_pytorch: '$python' has no torch; install it (pip install torch) or set PYTHON to one that has it" >&2
  exit 2
fi
build="$here/../build/bench"
cmake -S "$here/.." -B "$build" -DCMAKE_BUILD_TYPE=Release -DREFRAIN_TESTS=OFF -DREFRAIN_EXAMPLES=OFF -DREFRAIN_BENCH=ON \
  -DREFRAIN_CUDA=OFF >/dev/null
cmake --build "$build" --target step_timer -j"$(nproc)" >&2
exec "$python" "$here/against_pytorch.py" --program "$build/bench/step_timer" "$@"
