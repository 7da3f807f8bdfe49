#!/usr/bin/env bash
# Kills a random process of a training at a random moment, again and again:
#   tests/mpi/kills.sh LAUNCHER PETERREC KILLS [SEED]
# A job of three processes loses one of them or mpirun. All others must end within ten seconds, and
# the training must continue on 1, 2 or 4 processes to the file of an unbroken run.
set -euo pipefail

launcher=$1
peterrec=$(realpath "$2")
kills=$3
RANDOM=${4:-1}
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"
need_launcher "killed processes"

awk 'BEGIN {
  for (u = 1; u <= 120; ++u) {
    printf "u%d", u
    for (t = 1; t <= 12; ++t) printf " i%d", (u * 3 + t * (1 + u % 2)) % 40
    print ""
  }
}' > log.txt
train=("$peterrec" "${base[@]}" --data log.txt --format user_items --slices 8 --epochs 40 --patience 40)

now() { date +%s%3N; }
# job_processes: the processes of this folder's job, one id a line.
job_processes() { grep -lsa -- "[/]${folder#/}/state" /proc/[0-9]*/cmdline | cut -d/ -f3 || true; }

run 0 "${train[@]}" --out unbroken
mpi 3
begin=$(now)
run 0 "${start[@]}" "${train[@]}" --resume "$folder/state" --out whole
duration=$(($(now) - begin))
cmp unbroken whole || fail "three processes wrote another file than one"

longest=0 early=0 counts=(1 2 4)
for ((kill = 1; kill <= kills; ++kill)); do
  rm -f state broken
  mpi 3
  "${start[@]}" "${train[@]}" --resume "$folder/state" --out broken > out 2>&1 &
  job=$!
  sleep "$(printf '0.%03d' $((RANDOM % 1000)) | awk -v most="$duration" '{ print $1 * most / 1000 }')"
  mapfile -t processes < <(job_processes)
  ((${#processes[@]} > 0)) || processes=("$job")
  victim=${processes[RANDOM % ${#processes[@]}]}
  kill -KILL "$victim" 2> /dev/null || true
  begin=$(now)
  wait "$job" 2> /dev/null || true
  until [[ -z "$(job_processes)" ]]; do
    (($(now) - begin < 10000)) || fail "kill $kill: processes run 10 s after process $victim of ${processes[*]} was killed"
    sleep 0.02
  done
  took=$(($(now) - begin))
  ((took <= longest)) || longest=$took
  [[ -e state ]] || early=$((early + 1))
  mpi "${counts[RANDOM % 3]}"
  run 0 "${start[@]}" "${train[@]}" --resume "$folder/state" --out broken --force
  cmp unbroken broken || fail "kill $kill: the continued training wrote another file"
done
echo "$kills kills, $early of them before the first state was saved: all processes ended within $longest ms, and every continued training wrote the file of an unbroken one"
