# Sourced by the tests of the programs under MPI, which set launcher.

source "$(dirname "${BASH_SOURCE[0]}")/../examples/support.sh"

# need_launcher WHAT: ends the test as skipped without the launcher.
need_launcher() {
  if command -v "$launcher" > /dev/null; then return; fi
  echo "SKIPPED: $1: the programs have no MPI, or there is no launcher"
  exit 0
}

# mpi PROCESSES: sets start, the command that starts the processes.
mpi() {
  start=("$launcher" -n "$1")
  if "$launcher" --version 2>&1 | grep -qE 'Open ?(MPI|RTE)'; then start+=(--oversubscribe --allow-run-as-root); fi
}

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

# log SHIFT [USERS]: users in no order of the lines, 120 unless given, not a multiple of 7; 40 items.
log() {
  awk -v shift="$1" -v users="${2:-120}" 'BEGIN {
    print "userId,movieId,rating,timestamp"
    for (t = 12; t > 0; --t)
      for (u = 1; u <= users; ++u)
        if ((u * t) % 5 != 0) printf "u%d,i%d,4,%d\n", (u * 7) % users + 1, (u * shift + t * (1 + u % 2)) % 40, 1000000000 + t * 60
  }'
}
log 3 > log.csv

# Small trainings on log.csv, for peterrec and cmnrec.
base=(pretrain --channels 8 --dilations 1,2 --length 8)
pretrain=("${base[@]}" --data log.csv --epochs 2 --slices 8)
finetune=(finetune --data log.csv --base held.base --task next --bottleneck 2 --length 8 --epochs 2 --slices 8 --force)
memory=(train --schedule tsc --slots 2 --hidden 8 --embedding 8 --word-size 6 --attention 4 --length 6 --slices 8 --force)
train=("${memory[@]}" --data log.csv --epochs 2)

# for_rank RANK COMMAND... -- PROGRAM ARGS...: each process runs the program and leaves its process
# id in the file pid.RANK; the command starts the program on this rank.
cat > for_rank << 'END'
#!/bin/bash
rank=${OMPI_COMM_WORLD_RANK:-$PMI_RANK}
echo $$ > "pid.$rank"
chosen=$1 command=()
shift
while [[ "$1" != -- ]]; do
  command+=("$1")
  shift
done
shift
if [[ "$rank" != "$chosen" ]]; then command=(); fi
exec "${command[@]}" "$@"
END
chmod +x for_rank

# start_training LOG COMMAND...: starts a training as process $job and waits for its first epoch.
start_training() {
  local log=$1
  shift
  "$@" > out 2>&1 &
  job=$!
  until grep -qs epoch "$log"; do
    kill -0 "$job" 2> /dev/null || fail "the training ended too early"
    sleep 0.05
  done
}

# job_ends STATUS: the training started last ends within 60 s with this exit code; "error": any
# other than 0.
job_ends() {
  local status=0 i
  for ((i = 0; i < 600; ++i)); do
    kill -0 "$job" 2> /dev/null || break
    sleep 0.1
  done
  if kill "$job" 2> /dev/null; then fail "the job did not end within 60 s"; fi
  wait "$job" || status=$?
  case $1 in
    error) ((status != 0)) || fail "expected an exit code of an error, got 0" ;;
    *) ((status == $1)) || fail "expected exit code $1, got $status" ;;
  esac
}
