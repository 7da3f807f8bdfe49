#!/usr/bin/env bash
# Installs a finished build and uses it from two outside projects:  tests/consumer/run.sh BUILD_FOLDER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/install.sh

built=$1
work=$PWD/build/consumer
rm -rf "$work"
mkdir -p "$work"

run_quietly "$work/install.log" cmake --install "$built" --prefix "$work/prefix"

use() {  # use NAME ARGS...
  local name=$1
  shift
  configure "$work/$name" -S "tests/consumer/$name" -DCMAKE_BUILD_TYPE=Release "$@"
  build "$work/$name"
  echo "$name: $("$work/$name/consumer")"
}
# Eigen and nlohmann/json must not be needed any more.
use find_package "-DCMAKE_PREFIX_PATH=$work/prefix" \
  -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON
use add_subdirectory -DREFRAIN_CUDA=OFF

# Sources in another project make a portable library: every instruction set level that this CPU runs, and its object.
mapfile -t objects < <(find "$work/add_subdirectory/refrain" -maxdepth 1 -name 'refrain_v[34]_Release.o' | sort)
if ((${#objects[@]} < 2)); then
  grep 'instruction set levels' "$work/add_subdirectory/configure.log" || true
  if [[ $(uname -sm) == "Linux x86_64" ]]; then echo "the portable library lacks levels" >&2; exit 1; fi
fi
for object in "${objects[@]}"; do
  level=$(grep -oE 'v[34]' <<< "${object##*/}")
  bash tests/check_levels.sh hidden "$level" "$object"
  if out=$(REFRAIN_ISA=$level "$work/add_subdirectory/consumer" 2>&1); then
    grep -F "isa=$level," <<< "$out"
  else
    grep -oE "REFRAIN_ISA=$level: this CPU cannot run it" <<< "$out"
  fi
done
