#!/usr/bin/env bash
# From a fresh clone to recommendations: builds the PeterRec example and trains it on generated data. Needs a compiler and git;
# the rest is installed on Debian and Ubuntu, listed elsewhere.  Arguments go to the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/install.sh

need_compiler
need_example_libraries
install_missing
check_cmake

build=build/quickstart
echo "Building $build"
configure "$build" -DCMAKE_BUILD_TYPE=Release -DREFRAIN_TESTS=OFF -DREFRAIN_BENCH=OFF -DREFRAIN_CUDA=OFF
build "$build" --target peterrec

"$build/examples/peterrec" compare --generate --task age,items --channels 32 --learning-rate 0.003 \
  --pretrain-learning-rate 0.003 --pretrain-epochs 12 --epochs 15 "$@"
