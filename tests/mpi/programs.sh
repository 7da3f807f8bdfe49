#!/usr/bin/env bash
# Training on several processes in the programs: tests/mpi/programs.sh LAUNCHER PETERREC CMNREC
# Any number of processes must write the file of one process, the first one alone must print and
# write, and an error must end all. LAUNCHER: the launcher of the programs' MPI; empty: the programs
# have none.
set -euo pipefail

launcher=$1
peterrec=$(realpath "$2")
cmnrec=$(realpath "$3")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# 120 users in no order of the lines; 40 items.
log() {
  awk -v shift="$1" 'BEGIN {
    print "userId,movieId,rating,timestamp"
    for (t = 12; t > 0; --t)
      for (u = 1; u <= 120; ++u)
        if ((u * t) % 5 != 0) printf "u%d,i%d,4,%d\n", (u * 7) % 120 + 1, (u * shift + t * (1 + u % 2)) % 40, 1000000000 + t * 60
  }'
}
log 3 > log.csv
log 5 > other.csv
base=(pretrain --channels 8 --dilations 1,2 --length 8)
pretrain=("${base[@]}" --data log.csv --epochs 2 --slices 8)
finetune=(finetune --data log.csv --base held.base --task next --bottleneck 2 --length 8 --epochs 2 --slices 8 --force)
memory=(train --schedule tsc --slots 2 --hidden 8 --embedding 8 --word-size 6 --attention 4 --length 6 --slices 8 --force)
train=("${memory[@]}" --data log.csv --epochs 2)

# A launcher whose processes MPI does not connect.
run 1 env OMPI_COMM_WORLD_SIZE=2 "$peterrec" "${pretrain[@]}" --out refused
says "expected one process, got several from a launcher (OMPI_COMM_WORLD_SIZE=2) that MPI does not connect"
run 1 env OMPI_COMM_WORLD_SIZE=2 "$cmnrec" "${train[@]}" --out refused
says "expected one process, got several from a launcher (OMPI_COMM_WORLD_SIZE=2) that MPI does not connect"
[[ ! -e refused ]] || fail "a refused command wrote a file"
if ! command -v "$launcher" > /dev/null; then
  echo "SKIPPED: training on several processes: the programs have no MPI, or there is no launcher"
  exit 0
fi

# says_once TEXT: one process alone prints it.
says_once() { (($(grep -cF -- "$1" out) == 1)) || fail "expected the output to have once: $1"; }
# same FILE...: all files have the bytes of the first one.
same() {
  local file
  for file in "${@:2}"; do cmp "$1" "$file" || fail "$file differs from $1"; done
}
# compare_processes FILE "PROCESSES..." PROGRAM ARGS...: writes FILE.1 with one process and FILE.R
# with each number of processes; all must be equal.
compare_processes() {
  local file=$1 processes
  run 0 "${@:3}" --out "$file.1"
  for processes in $2; do
    mpi "$processes"
    run 0 "${start[@]}" "${@:3}" --out "$file.$processes"
    says_once "wrote $file.$processes"
    same "$file.1" "$file.$processes"
  done
}

# keep_pid PROGRAM...: runs it and leaves the process id of each rank. own_data FIRST SECOND
# PROGRAM...: gives the second process other data than the others.
cat > keep_pid << 'END'
#!/bin/sh
echo $$ > "pid.${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"
exec "$@"
END
cat > own_data << 'END'
#!/bin/sh
data=$1
if [ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" = 1 ]; then data=$2; fi
shift 2
exec "$@" --data "$data"
END
chmod +x keep_pid own_data

# Training.
compare_processes base "2 3 5" "$peterrec" "${pretrain[@]}"
compare_processes sampled "3" "$peterrec" "${pretrain[@]}" --pretrain-loss sampled
compare_processes masked "2" "$peterrec" "${pretrain[@]}" --non-causal
compare_processes both "3" "$peterrec" "${pretrain[@]}" --non-causal --pretrain-loss sampled
run 0 "$peterrec" "${pretrain[@]}" --hold-out-last --out held.base
compare_processes patch "2 3" "$peterrec" "${finetune[@]}"
says_once "test, full: "
compare_processes memory "2 3" "$cmnrec" "${train[@]}"
compare_processes search "3" "$cmnrec" "${train[@]}" --search 0.001,0.01 --search-epochs 1

# The log has the lines of one process, except for the seconds.
mpi 3
run 0 "$cmnrec" "${train[@]}" --out logged --log one.jsonl
run 0 "${start[@]}" "$cmnrec" "${train[@]}" --out logged --log three.jsonl
same <(sed 's/"seconds":[^,}]*//' one.jsonl) <(sed 's/"seconds":[^,}]*//' three.jsonl)

# A run continues on another number of processes.
for processes in 2 3; do
  mpi "$processes"
  run 0 "${start[@]}" "$peterrec" "${base[@]}" --data log.csv --slices 8 --epochs "$processes" --resume state --out "continued.$processes"
done
run 0 "$peterrec" "${base[@]}" --data log.csv --slices 8 --epochs 4 --resume state --out continued.1
run 0 "$peterrec" "${base[@]}" --data log.csv --slices 8 --epochs 4 --out whole
same whole continued.1

# SIGTERM to one process stops all after the same step. The launcher's own exit code varies.
rm -f state
mpi 3
long=("$cmnrec" "${memory[@]}" --data log.csv --patience 100000)
"${start[@]}" ./keep_pid "${long[@]}" --epochs 100000 --resume state --log long.jsonl --out stopped > out 2>&1 &
job=$!
until grep -qs epoch long.jsonl; do
  kill -0 "$job" 2> /dev/null || fail "the training ended too early"
  sleep 0.05
done
kill -TERM "$(cat pid.1)"
status=0
wait "$job" || status=$?
((status != 0)) || fail "expected an exit code of an interrupted training, got 0"
says_once "the same command resumes from it; stopped was not written"
epochs=$(sed -nE 's/.*interrupted after ([0-9]+) epochs?.*/\1/p' out)
run 0 "${long[@]}" --epochs $((epochs + 1)) --resume state --out resumed
run 0 "${long[@]}" --epochs $((epochs + 1)) --out uninterrupted
same uninterrupted resumed

# Errors of all processes are printed once.
mpi 3
run 1 "${start[@]}" "$peterrec" "${base[@]}" --data log.csv --slices 2 --out refused
says_once "peterrec: --slices: expected at least 3, the number of processes, got 2"
run 1 "${start[@]}" "$peterrec" "${pretrain[@]}" --chanels 2 --out refused
says_once "peterrec: unknown option --chanels"
run 1 "${start[@]}" "$cmnrec" "${memory[@]}" --data missing.csv --out refused
says_once "missing.csv"
run 1 "${start[@]}" "$peterrec" "${pretrain[@]}" --learning-rate 1e30 --clip 0 --out refused
says_once "peterrec: training: the loss is "
(($(grep -c "^rank " out) == 0)) || fail "expected an error of all processes"
run 0 "${start[@]}" "$peterrec" pretrain --help
says_once "--slices "
run 1 "${start[@]}" "$peterrec" evaluate --data log.csv --base base.1
says "start the program without mpirun or srun"

# Errors of one process.
own=("$peterrec" "${base[@]}" --slices 8 --out refused)
run 1 "${start[@]}" ./own_data log.csv other.csv "${own[@]}"
says "setting data: rank 1 ("
: > empty.csv
for data in empty.csv missing.csv; do
  run 1 "${start[@]}" ./own_data log.csv "$data" "${own[@]}"
  (($(grep -cE "^rank 1 \(.*\): peterrec: .*$data" out) == 1)) || fail "expected the error of rank 1 once"
done

# The first process cannot save its state: the job ends.
mkdir gone
"${start[@]}" "${long[@]}" --epochs 100000 --log gone.jsonl --resume gone/state --out refused > out 2>&1 &
job=$!
until grep -qs epoch gone.jsonl; do
  kill -0 "$job" 2> /dev/null || fail "the training ended too early"
  sleep 0.05
done
mv gone away  # at once, also while a file is written in it
status=0
wait "$job" || status=$?
((status == 1)) || fail "expected exit code 1, got $status"
says_once "gone/state"
[[ ! -e refused ]] || fail "a failed training wrote its result"
echo "all good"
