#!/usr/bin/env bash
# Slow processes: tests/mpi/slow.sh LAUNCHER PETERREC
# Of three processes, one has the lowest priority, and each is stopped and continued, at last
# fifty times in short turns. While a process is stopped the others wait. The training must write
# the file of one process.
set -euo pipefail

launcher=$1
peterrec=$(realpath "$2")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"
need_launcher "slow processes"

slow=("$peterrec" "${base[@]}" --data log.csv --slices 8 --epochs 400 --patience 400 --threads 1)
run 0 "${slow[@]}" --out alone
mpi 3
start_training log.jsonl "${start[@]}" ./for_rank 2 nice -n 19 -- "${slow[@]}" --log log.jsonl --out slow
# signal NAME RANK: sends a signal to a process that trains.
signal() { kill -s "$1" "$(cat "pid.$2")" 2> /dev/null || fail "rank $2 ended before it got $1"; }
epochs() { wc -l < log.jsonl; }
for rank in 1 2 0 1; do
  signal STOP "$rank"
  sleep 0.3
  before=$(epochs)
  sleep 0.3
  grep -q '^State:.*stopped' "/proc/$(cat "pid.$rank")/status" || fail "rank $rank is not stopped"
  (($(epochs) == before)) || fail "the training went on while rank $rank was stopped"
  signal CONT "$rank"
  sleep 0.1
done
before=$(epochs)
for ((turn = 0; turn < 50; ++turn)); do
  signal STOP 1
  sleep 0.004
  signal CONT 1
  sleep 0.001
done
echo "$(epochs) epochs before the last turn, $before of them before the short turns"
job_ends 0
says_once "wrote slow"
same alone slow
echo "all good"
