#!/usr/bin/env bash
# Builds the PeterRec and CmnRec examples and trains them on generated data. It requires a compiler
# and git. On Debian and Ubuntu it installs missing packages; elsewhere it lists them. Its arguments
# are passed to both programs, e.g. --threads 1 --seed 2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/install.sh

need_compiler
need_example_libraries
install_missing
check_cmake

build=build/quickstart
echo "Building $build (the first build takes some minutes)"
configure "$build" -DCMAKE_BUILD_TYPE=Release -DREFRAIN_TESTS=OFF -DREFRAIN_BENCH=OFF -DREFRAIN_CUDA=OFF
build "$build" --target peterrec --target cmnrec --target layer_tour

echo
echo "PeterRec: one network is trained on behaviour, and small patches adapt it to each task"
echo
"$build/examples/peterrec" compare --generate --task age,items --channels 32 --learning-rate 0.003 \
  --pretrain-learning-rate 0.003 --pretrain-epochs 12 --epochs 15 "$@"

echo
echo "CmnRec: a memory that is read and written at a few chunk steps instead of at every step (SRMN) or never (LSTM4Rec, GRU4Rec)"
echo
"$build/examples/cmnrec" compare --generate "$@"

echo
echo "Meaning of the columns: docs/peterrec.md and docs/cmnrec.md. Your own data: docs/guides/own_data.md. Serving: docs/serving.md."
echo "A tour of the layers: $build/examples/layer_tour"
