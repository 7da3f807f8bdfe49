#!/usr/bin/env bash
# Runs every fuzz target (tests/fuzz/): tests/fuzz.sh SECONDS [TARGET...]
# Prints executions and covered edges for each target. Fails at the first finding and leaves its
# input in build/fuzz/findings.
#   CXX_CLANG   the clang++ to use (clang++)
#   JOBS        number of targets that run at a time (number of cores)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/install.sh

seconds=${1:?usage: tests/fuzz.sh SECONDS [TARGET...]}
shift
compiler=${CXX_CLANG:-clang++}
jobs=${JOBS:-$(nproc)}
need_compiler
need "$compiler" clang
need_header fmt/core.h libfmt-dev
need_header boost/beast.hpp libboost-dev
need_header sqlite3.h libsqlite3-dev
install_missing
# The runtime of the fuzzer is a separate package.
if [[ -z "$(find "$("$compiler" -print-resource-dir)/lib" -name 'libclang_rt.fuzzer*.a' 2> /dev/null)" ]]; then
  missing_tools+=("libclang-rt-$("$compiler" -dumpversion | cut -d . -f 1)-dev")
  install_missing
fi
check_cmake

folder=build/fuzz
configure "$folder" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=None -DREFRAIN_FUZZ=ON -DREFRAIN_TESTS=OFF \
  -DREFRAIN_BENCH=OFF -DREFRAIN_EXAMPLES=OFF -DREFRAIN_CUDA=OFF -DREFRAIN_WERROR=ON
build "$folder" --target refrain_fuzz

targets=("$@")
if ((${#targets[@]} == 0)); then
  for source in tests/fuzz/*_fuzz.cpp; do targets+=("$(basename "$source" _fuzz.cpp)"); done
fi
mkdir -p "$folder/findings"

# The corpus is kept between runs: a longer run continues from the previous one.
fuzz() {
  local program=$folder/tests/fuzz/$1_fuzz corpus=$folder/corpus/$1 log=$folder/$1.log
  mkdir -p "$corpus"
  "$program" "--write-seeds=$corpus" &&
    "$program" -max_total_time="$seconds" -max_len=4096 -timeout=120 -report_slow_units=60 -rss_limit_mb=2048 \
      -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$folder/findings/$1-" "$corpus" > "$log" 2>&1 && return
  touch "$folder/$1.failed"
}

for target in "${targets[@]}"; do
  rm -f "$folder/$target.failed"
  while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
  fuzz "$target" &
done
wait

status=0
for target in "${targets[@]}"; do
  log=$folder/$target.log
  if [[ -e "$folder/$target.failed" ]]; then
    echo "$target: FINDING" >&2
    grep -vE '^#[0-9]|^INFO' "$log" | head -n 60 >&2 || true
    status=1
    continue
  fi
  executions=$(sed -nE 's/^stat::number_of_executed_units: *//p' "$log")
  edges=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$log" | tail -n 1)
  printf '%-14s %12d executions  %6d edges\n' "$target" "$executions" "$edges"
done
exit "$status"
