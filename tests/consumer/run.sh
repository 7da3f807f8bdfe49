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
