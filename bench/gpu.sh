#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: times the kernels, and with a PyTorch peer whole steps of the
# models, and writes a JSON report.
#
#   bench/gpu.sh [--prefix DIR]... [--build DIR] [--out FILE] [--filter TEXT] [--peers DIR] [--math exact,tf32] [--compiled]
#     --prefix DIR    where CMake finds Google Benchmark, Eigen and nlohmann/json on an offline
#                     machine; may be repeated. Default: $REFRAIN_PREFIX, separated by colons
#     --build DIR     build folder (build/gpu-bench)
#     --out FILE      the report (build/gpu-bench/gpu_bench.json)
#     --filter TEXT   kernels whose names contain it
#     --peers DIR     folder with reference.py and bench_cpu_gpu.py: also times steps of both models
#                     in PyTorch, when python3 ($PYTHON) has torch with CUDA
#     --math MODES    arithmetic of the steps, separated by commas: exact, tf32, bf16 (exact,tf32)
#     --compiled      the peer also under torch.compile, which takes minutes
#
# Exits with 77, ctest's code for "skipped", when there is no GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/gpu_machine.sh

build=build/gpu-bench out="" filter="" peers="" modes=exact,tf32
compiled=()
prefixes=${REFRAIN_PREFIX:-}
while (($# > 0)); do
  case $1 in
    --prefix) prefixes+="${prefixes:+:}$2"; shift 2 ;;
    --build) build=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --filter) filter=$2; shift 2 ;;
    --peers) peers=$2; shift 2 ;;
    --math) modes=$2; shift 2 ;;
    --compiled) compiled=(--compiled); shift ;;
    *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 2 ;;
  esac
done
out=${out:-$build/gpu_bench.json}

need_gpu
begin=$SECONDS
configure_for_gpu "$build" "$prefixes" -DREFRAIN_TESTS=OFF -DREFRAIN_BENCH=ON -DREFRAIN_EXAMPLES=OFF
echo "Building $build"
cmake --build "$build" -j "$(nproc)" --target gpu_kernels step_timer > "$build/build.log" 2>&1 || { tail -n 40 "$build/build.log" >&2; exit 1; }

"$build/bench/gpu_kernels" ${filter:+"$filter"} | tee "$build/kernels.jsonl"

steps='[]'
python=${PYTHON:-python3}
if [[ -z "$peers" ]]; then
  echo "No --peers: models are not compared"
elif ! "$python" -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
  echo "'$python' has no torch with CUDA: models are not compared"
else
  parts=()
  for math in ${modes//,/ }; do
    "$python" bench/against_pytorch.py --program "$build/bench/step_timer" --peers "$peers" --device cuda --math "$math" \
      --json "$build/steps_$math.json" "${compiled[@]}"
    parts+=("$build/steps_$math.json")
  done
  steps=$("$python" -c 'import json, sys; print(json.dumps([line for file in sys.argv[1:] for line in json.load(open(file))], indent=1))' \
    "${parts[@]}")
fi

cat > "$out" << JSON
{
  "what": "GPU figures",
  $(machine_record),
  "kernels": [$(paste -sd, "$build/kernels.jsonl")],
  "steps": $steps,
  "seconds": $((SECONDS - begin))
}
JSON
echo "wrote $out"
