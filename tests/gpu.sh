#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the CUDA suite, runs it, runs the tools of
# compute-sanitizer on a part of it, and writes a JSON report.
#
#   tests/gpu.sh [--prefix DIR]... [--build DIR] [--out FILE] [--no-sanitizers] [--seed N]
#     --prefix DIR      where CMake finds Catch2, Eigen, nlohmann/json, fmt and CLI11 on an offline
#                       machine; may be repeated. Default: $REFRAIN_PREFIX, separated by colons
#     --build DIR       build folder (build/gpu)
#     --out FILE        the report (build/gpu/gpu_tests.json)
#     --no-sanitizers   only the suite
#     --seed N          repeats the random problems of an earlier run
#
# Exits with 0 when all passed, 1 when something failed, 77 (ctest's code for "skipped") when there
# is no GPU. REFRAIN_GOLDENS is the folder of golden cases (../shared/goldens); without it their
# tests are skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/gpu_machine.sh

build=build/gpu out="" sanitizers=1
prefixes=${REFRAIN_PREFIX:-}
while (($# > 0)); do
  case $1 in
    --prefix) prefixes+="${prefixes:+:}$2"; shift 2 ;;
    --build) build=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --no-sanitizers) sanitizers=0; shift ;;
    --seed) export REFRAIN_SEED=$2; shift 2 ;;
    *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 2 ;;
  esac
done
out=${out:-$build/gpu_tests.json}

need_gpu
export REFRAIN_SEED=${REFRAIN_SEED:-$(date +%s)}
begin=$SECONDS
configure_for_gpu "$build" "$prefixes" -DREFRAIN_TESTS=ON -DREFRAIN_BENCH=OFF -DREFRAIN_EXAMPLES=OFF
echo "Building $build"
cmake --build "$build" -j "$(nproc)" --target refrain_cuda_tests > "$build/build.log" 2>&1 || { tail -n 40 "$build/build.log" >&2; exit 1; }

echo "Running the CUDA suite on $(gpu_property name), REFRAIN_SEED=$REFRAIN_SEED"
report=$PWD/$build/gpu_tests.xml
rm -f "$report"
status=0
# Each case is a process that spends most of its time starting CUDA.
ctest --test-dir "$build" -R '^gpu[.]' -j 8 --output-on-failure --no-tests=error --output-junit "$report" || status=1
count() { sed -nE "s/^[[:space:]]*$1=\"([0-9]+)\".*/\1/p" "$report" | head -n 1; }
if [[ ! -e "$report" ]]; then exit 1; fi
tests=$(count tests) failed=$(count failures) skipped=$(count skipped)
grep -oE 'SKIPPED: .*' "$report" | sort | uniq -c || true
if grep -q 'SKIPPED: no CUDA device\|SKIPPED: no device cuda' "$report"; then
  echo "nvidia-smi finds a GPU, the suite does not: nothing was tested on a GPU" >&2
  status=1
fi

# The reduced set: every entry on few problems, and the device layer. Without the pool each tensor
# is a separate allocation, so that the sanitizer detects every access outside a tensor.
found=""
running=()
if ((sanitizers)); then
  if ! command -v compute-sanitizer > /dev/null; then
    echo "compute-sanitizer is not on PATH" >&2
    found='"missing": "compute-sanitizer is not on PATH"'
    status=1
  else
    tools=(memcheck racecheck initcheck synccheck)
    for tool in "${tools[@]}"; do  # in parallel
      echo "compute-sanitizer --tool $tool"
      # Kernels of cuBLAS are excluded, except that initcheck must observe their writes.
      ignored=(--kernel-name-exclude kns=cublas)
      if [[ $tool == initcheck ]]; then ignored=(); fi
      REFRAIN_ROUNDS=2 REFRAIN_CUDA_POOL=off compute-sanitizer --tool "$tool" --error-exitcode 99 "${ignored[@]}" \
        "$build/tests/refrain_cuda_tests" '[sanitize]' > "$build/$tool.log" 2>&1 &
      running[${#running[@]}]=$!
    done
    for i in "${!tools[@]}"; do
      tool=${tools[$i]} verdict=passed
      wait "${running[$i]}" || verdict=failed
      if ! grep -q 'ERROR SUMMARY: 0 errors\|RACECHECK SUMMARY: 0 hazards' "$build/$tool.log"; then verdict=failed; fi
      echo "$tool: $verdict"
      if [[ $verdict == failed ]]; then
        status=1
        tail -n 40 "$build/$tool.log" >&2
      fi
      found+="${found:+, }\"$tool\": \"$verdict\""
    done
  fi
fi

cat > "$out" << JSON
{
  "what": "CUDA tests",
  $(machine_record),
  "seed": $REFRAIN_SEED,
  "passed": $((tests - failed - skipped)),
  "failed": $failed,
  "skipped": $skipped,
  "sanitizers": {$found},
  "seconds": $((SECONDS - begin))
}
JSON
cat "$out"
exit "$status"
