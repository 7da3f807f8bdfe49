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

log 5 > other.csv

# A launcher whose processes MPI does not connect.
run 1 env OMPI_COMM_WORLD_SIZE=2 "$peterrec" "${pretrain[@]}" --out refused
says "expected one process, got several from a launcher (OMPI_COMM_WORLD_SIZE=2) that MPI does not connect"
run 1 env OMPI_COMM_WORLD_SIZE=2 "$cmnrec" "${train[@]}" --out refused
says "expected one process, got several from a launcher (OMPI_COMM_WORLD_SIZE=2) that MPI does not connect"
[[ ! -e refused ]] || fail "a refused command wrote a file"
need_launcher "training on several processes"

# own_data FIRST SECOND PROGRAM...: gives the second process other data than the others.
cat > own_data << 'END'
#!/bin/sh
data=$1
if [ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" = 1 ]; then data=$2; fi
shift 2
exec "$@" --data "$data"
END
chmod +x own_data

# Training.
compare_processes base "2 3 5" "$peterrec" "${pretrain[@]}"
compare_processes sampled "3" "$peterrec" "${pretrain[@]}" --pretrain-loss sampled
compare_processes masked "2" "$peterrec" "${pretrain[@]}" --non-causal
compare_processes both "3" "$peterrec" "${pretrain[@]}" --non-causal --pretrain-loss sampled
run 0 "$peterrec" "${pretrain[@]}" --hold-out-last --out held.base
compare_processes patch "2 3" "$peterrec" "${finetune[@]}"
says_once "test, full: "

# Many tasks in one pass: the files of one process that trains one task at a time.
awk 'BEGIN { print "user,odd,third,fifth"; for (u = 1; u <= 120; ++u) printf "u%d,o%d,t%d,f%d\n", u, u % 2, u % 3, u % 5 }' > labels.csv
tasks=("$peterrec" finetune --data log.csv --base held.base --profiles labels.csv --task odd,third,fifth --bottleneck 2 --length 8 --epochs 4 --patience 1 --clip 0.5 --slices 8 --force)
run 0 "${tasks[@]}" --tasks-at-once 1 --out odd.alone,third.alone,fifth.alone
for processes in 1 2 3; do
  mpi "$processes"
  run 0 "${start[@]}" "${tasks[@]}" --threads "$processes" --out odd.pass,third.pass,fifth.pass
  says_once "3 trainings in passes of "
  says_once "wrote third.pass"
  for task in odd third fifth; do same "$task.alone" "$task.pass"; done
  rm ./*.pass
done
mpi 3
run 1 "${start[@]}" "${tasks[@]}" --learning-rate 1e30 --out odd.pass,third.pass,fifth.pass
says_once "task odd: training: the loss is "
(($(grep -c "^rank " out) == 0)) || fail "expected an error of all processes"
compare_processes memory "2 3" "$cmnrec" "${train[@]}"
compare_processes search "3" "$cmnrec" "${train[@]}" --search 0.001,0.01 --search-epochs 1

# Measuring: any number of processes print the figures of one, and the files of --ranks and --log
# are equal. The 703 test users are in three batches.
log 3 703 > many.csv
awk 'BEGIN { print "user,churned"; for (u = 1; u <= 703; ++u) printf "u%d,%d\n", u, u % 3 == 0 }' > churned.csv
# without_errors COMMAND...: standard error, which mpirun may mix into the lines of standard output,
# goes to a file.
without_errors() { "$@" 2> errors; }
# measure_processes PROGRAM ARGS...
measure_processes() {
  local processes
  rm -f ranks.? figures.?
  run 0 without_errors "$@" --ranks ranks.1 --log figures.1
  mv out printed.1
  for processes in 2 3; do
    mpi "$processes"
    run 0 without_errors "${start[@]}" "$@" --ranks "ranks.$processes" --log "figures.$processes"
    same printed.1 out
    same ranks.1 "ranks.$processes"
    same figures.1 "figures.$processes"
  done
  (($(wc -l < ranks.1) >= 500)) || fail "expected the ranks of several batches"
}
tiny=(--data many.csv --epochs 1 --threads 1 --force)
run 0 "$peterrec" "${base[@]}" "${tiny[@]}" --hold-out-last --out many.base
run 0 "$cmnrec" "${memory[@]}" "${tiny[@]}" --out many.memory
run 0 "$peterrec" finetune "${tiny[@]}" --base many.base --profiles churned.csv --task churned --length 8 --split 0.1,0.1,0.8 --out churned.patch
measure_processes "$peterrec" evaluate --data many.csv --base many.base --length 8
measure_processes "$peterrec" evaluate --data many.csv --profiles churned.csv --base many.base --patch churned.patch
measure_processes "$cmnrec" evaluate --data many.csv --model many.memory
mpi 3
run 1 "${start[@]}" ./own_data many.csv log.csv "$peterrec" evaluate --base many.base --length 8
says "data: rank 1 ("
run 1 "${start[@]}" ./own_data many.csv missing.csv "$cmnrec" evaluate --model many.memory
(($(grep -cE "^rank 1 \(.*\): cmnrec: .*missing.csv" out) == 1)) || fail "expected the error of rank 1 once"

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
start_training long.jsonl "${start[@]}" ./for_rank 1 -- "${long[@]}" --epochs 100000 --resume state --log long.jsonl --out stopped
kill -TERM "$(cat pid.1)"
job_ends error
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
run 1 "${start[@]}" "$peterrec" prepare --data log.csv --out refused
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
start_training gone.jsonl "${start[@]}" "${long[@]}" --epochs 100000 --log gone.jsonl --resume gone/state --out refused
mv gone away  # at once, also while a file is written in it
job_ends 1
says_once "gone/state"
[[ ! -e refused ]] || fail "a failed training wrote its result"
echo "all good"
