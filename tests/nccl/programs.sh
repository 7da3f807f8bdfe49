#!/usr/bin/env bash
# Training on several processes with --device cuda: tests/nccl/programs.sh LAUNCHER HOST_GPU_PETERREC PETERREC
# HOST_GPU_PETERREC has a GPU whose memory is memory of the host, the same one for all processes.
# PETERREC is the program itself.
set -euo pipefail

launcher=$1
host_gpu=$(realpath "$2")
peterrec=$(realpath "$3")
source "$(dirname "${BASH_SOURCE[0]}")/../mpi/support.sh"
command -v "$launcher" > /dev/null || { echo "SKIPPED: no launcher of MPI"; exit 0; }

awk 'BEGIN {
  print "userId,movieId,rating,timestamp"
  for (t = 12; t > 0; --t)
    for (u = 1; u <= 60; ++u) if ((u * t) % 5 != 0) printf "u%d,i%d,4,%d\n", u, (u * 3 + t * (1 + u % 2)) % 40, 1000000000 + t * 60
}' > log.csv
pretrain=(pretrain --data log.csv --channels 8 --dilations 1,2 --length 8 --epochs 2 --slices 8 --device cuda)
says_once() { (($(grep -cF -- "$1" out) == 1)) || fail "expected the output to have once: $1"; }

run 0 "$host_gpu" "${pretrain[@]}" --out one
for processes in 2 3; do
  mpi "$processes"
  run 0 "${start[@]}" "$host_gpu" "${pretrain[@]}" --out several
  says_once "$processes processes exchange bytes of GPUs through page-locked memory: nccl_ranks: rank 0 ("
  says_once "have the same GPU"
  cmp one several || fail "$processes processes with GPUs wrote another file than one"
done

# Without a GPU the device is refused once.
mpi 2
export CUDA_VISIBLE_DEVICES=
run 1 "${start[@]}" "$peterrec" "${pretrain[@]}" --out refused
says_once "peterrec: --device cuda: expected a build with REFRAIN_CUDA=ON and a machine with an NVIDIA GPU"
[[ ! -e refused ]] || fail "a refused command wrote a file"
