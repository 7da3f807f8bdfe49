#!/usr/bin/env bash
# From a fresh clone to recommendations: builds the PeterRec and CmnRec examples and trains them on generated data. Needs a compiler
# and git; the rest is installed on Debian and Ubuntu, listed elsewhere.  Arguments go to both programs: --threads 1, --seed 2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/install.sh

need_compiler
need_example_libraries
install_missing
check_cmake

build=build/quickstart
echo "Building $build: some minutes, the first time"
configure "$build" -DCMAKE_BUILD_TYPE=Release -DREFRAIN_TESTS=OFF -DREFRAIN_BENCH=OFF -DREFRAIN_CUDA=OFF
build "$build" --target peterrec --target cmnrec --target layer_tour

echo
echo "PeterRec: one network learns behaviour, small patches adapt it to each task"
echo
"$build/examples/peterrec" compare --generate --task age,items --channels 32 --learning-rate 0.003 \
  --pretrain-learning-rate 0.003 --pretrain-epochs 12 --epochs 15 "$@"

echo
echo "CmnRec: a memory that is read and written at a few chunk steps instead of at every step (SRMN) or never (LSTM4Rec, GRU4Rec)"
echo
"$build/examples/cmnrec" compare --generate "$@"

echo
echo "What the columns mean: docs/peterrec.md and docs/cmnrec.md.  Your own data: docs/guides/own_data.md.  Serving: docs/serving.md."
echo "The layers, one after the other: $build/examples/layer_tour"
