#!/usr/bin/env bash
# Eight processes write the files of one: tests/mpi/eight.sh LAUNCHER PETERREC CMNREC [all]
# all: each kind of training, processes with one and with two threads each.
set -euo pipefail

launcher=$1
peterrec=$(realpath "$2")
cmnrec=$(realpath "$3")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"
need_launcher "eight processes"

threads=1
if [[ "${4:-}" == all ]]; then threads="1 2"; fi
run 0 "$peterrec" "${pretrain[@]}" --hold-out-last --out held.base
for count in $threads; do
  # compare NAME PROGRAM ARGS...
  compare() {
    compare_processes "$1.threads$count" 8 "${@:2}" --threads "$count"
    echo "$(sha256sum < "$1.threads$count.8" | cut -c1-16) $1, 8 processes of $count threads, as one process"
  }
  compare causal "$peterrec" "${pretrain[@]}"
  compare tsc "$cmnrec" "${train[@]}"
  if [[ "${4:-}" != all ]]; then continue; fi
  compare causal-sampled "$peterrec" "${pretrain[@]}" --pretrain-loss sampled
  compare two-way "$peterrec" "${pretrain[@]}" --non-causal
  compare two-way-sampled "$peterrec" "${pretrain[@]}" --non-causal --pretrain-loss sampled
  compare patch "$peterrec" "${finetune[@]}"
  compare tsc-sampled "$cmnrec" "${train[@]}" --loss sampled
done
echo "all good"
