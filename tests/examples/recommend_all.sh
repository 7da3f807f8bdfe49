#!/usr/bin/env bash
# recommend --all of both programs: tests/examples/recommend_all.sh PETERREC CMNREC
# The parts must be the answers of single users, for any number of processes and after kills.
set -euo pipefail

peterrec=$(realpath "$1") cmnrec=$(realpath "$2")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# same FOLDER EXTENSION FILE: compares the parts, in the order of their names, with a file.
same() { cat "$1"/part-*."$2" | cmp -s - "$3" || fail "the parts of $1 differ from $3"; }

# is_clean FOLDER: no new version of a part is left.
is_clean() { if compgen -G "$1/*.tmp" > /dev/null; then fail "a temporary file is left in $1"; fi; }

# 90 users with 1 to 12 of 40 items.
awk 'BEGIN {
  for (u = 1; u <= 90; ++u) {
    printf "u%d", u
    for (t = 0; t <= u % 12; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 5)) % 40
    print ""
  }
}' > users.txt
# Users whose items are partly or wholly unknown to the models, and one with a quote in its name.
{
  cat users.txt
  printf 'odd 1 nothing 2\nnone nothing\n%s 3 4\nagain else nothing\nlast 40\n' 'o"neil'
} > asked.txt
awk 'BEGIN { for (u = 1; u <= 90; ++u) printf "u%d::%s::25::1::0\n", u, u % 2 ? "F" : "M" }' > users.dat
printf 'movieId,title,genres\n3,"A ""third"", one",x\n4,Caf\xc3\xa9,x\n' > movies.csv
asked=$(cut -d' ' -f1 asked.txt | paste -sd,)

tiny=(--channels 8 --dilations "1,2" --epochs 1 --threads 2)
run 0 "$peterrec" pretrain --data users.txt "${tiny[@]}" --hold-out-last --out base.safetensors --force
run 0 "$peterrec" pretrain --data users.txt "${tiny[@]}" --non-causal --out masked.safetensors --force
run 0 "$peterrec" finetune --base base.safetensors --data users.txt --task next,gender --profiles users.dat --epochs 1 --force --threads 2
run 0 "$cmnrec" train --data users.txt --length 8 --slots 2 --hidden 8 --embedding 8 --word-size 8 --attention 4 --min-length 2 \
  --epochs 1 --force --threads 2
run 0 "$cmnrec" train --data users.txt --kind mostpop --length 8 --min-length 2 --out popular.safetensors --force

# --- the parts are the answers of single users -------------------------------------------------

# all_equals_single NAME COMMAND...: both formats, with batches that cross users without a history.
all_equals_single() {
  local name=$1 format
  shift
  for format in jsonl csv; do
    "$@" --data asked.txt --titles movies.csv --count 5 --output $format --user "$asked" > "$name.$format" 2> errors ||
      fail "single answers: $*"
    run 0 "$@" --data asked.txt --titles movies.csv --k 5 --output $format --all --out "$name-$format" --part-users 20
    says "$name-$format: wrote 5 parts; finished parts: 5 of 5; 95 users in "
    same "$name-$format" $format "$name.$format"
    is_clean "$name-$format"
  done
  (($(head -n 1 "$name-csv/part-00000.csv" | grep -c '^answer,user,task,place,') == 1)) || fail "expected a heading"
}
patches=next.patch.safetensors,gender.patch.safetensors
all_equals_single own "$peterrec" recommend --base base.safetensors --threads 2
all_equals_single tasks "$peterrec" recommend --base base.safetensors --patch $patches --task gender,next,base --threads 1
all_equals_single seen "$peterrec" recommend --base base.safetensors --patch $patches --keep-seen --threads 2
all_equals_single masked "$peterrec" recommend --base masked.safetensors --threads 2
all_equals_single memory "$cmnrec" recommend --threads 2
all_equals_single popular "$cmnrec" recommend --model popular.safetensors --keep-seen --threads 1
(($(wc -l < tasks.jsonl) == 3 * 95)) || fail "expected an answer for each user and task"
grep -q '"user":"none","task":"next","unknown":\["nothing"\],"source":"popular"' own.jsonl || fail "expected the fallback"
says "; 2 answers by frequency, because no item of the history is known; unknown items were skipped in 3 answers"

# Two domains: the users' own target items are excluded; users have no ids, only numbers.
awk 'BEGIN { for (u = 1; u <= 60; ++u) printf "%d,%d,%d,,%d,%d\n", 1 + u % 20, 1 + (u * 3) % 20, 1 + (u * 7) % 20, 100 + u % 9, 100 + (u + 3) % 9 }' > pairs.csv
run 0 "$peterrec" pretrain --data pairs.csv --format transfer_csv "${tiny[@]}" --out clicks.safetensors --force
run 0 "$peterrec" finetune --base clicks.safetensors --data pairs.csv --format transfer_csv --task items --epochs 1 --force --threads 2
orders=("$peterrec" recommend --base clicks.safetensors --patch items.patch.safetensors --task "items,next" --data pairs.csv
  --format transfer_csv --output jsonl --count 6 --threads 2)
"${orders[@]}" --user "$(seq -s, 60)" > orders.jsonl 2> errors || fail "single answers"
run 0 "${orders[@]}" --all --out orders --part-users 25
same orders jsonl orders.jsonl

# --- processes, restart, settings --------------------------------------------------------------

memory=("$cmnrec" recommend --data asked.txt --titles movies.csv --count 5 --threads 1 --part-users 7 --all)
for processes in 1 2 3; do
  pids=()
  for ((process = 1; process <= processes; ++process)); do
    "${memory[@]}" --out "shared-$processes" --part "$process/$processes" > "out-$process" 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || fail "a process of $processes failed"; done
  same "shared-$processes" jsonl memory.jsonl
  (($(compgen -G "shared-$processes/part-*" | wc -l) == 14)) || fail "expected 14 parts"
done
run 0 "${memory[@]}" --out shared-2 --part 1/3
says "wrote 0 parts; finished parts: 14 of 14; 0 users"
run 0 "${memory[@]}" --out alone --part 3/3
says "wrote 4 parts; finished parts: 4 of 14; 28 users"

kept=$(stat -c %i shared-1/part-00000.jsonl)
rm shared-1/part-00003.jsonl shared-1/part-00013.jsonl
run 0 "${memory[@]}" --out shared-1
says "wrote 2 parts; finished parts: 14 of 14; 11 users"
same shared-1 jsonl memory.jsonl
(($(stat -c %i shared-1/part-00000.jsonl) == kept)) || fail "expected a finished part to be kept"

# refuses DIFFERENCE ARGUMENTS...: other settings are refused, and the parts stay.
refuses() {
  local difference=$1
  shift
  run 1 "${memory[@]}" --out shared-1 "$@"
  says "cmnrec: --out shared-1: expected a folder of the same run: its parts have $difference"
  says "choose another folder, or start anew with --force, which removes the parts"
  same shared-1 jsonl memory.jsonl
}
memory_of() { memory=("$cmnrec" recommend "$@" --threads 1 --part-users 7 --all); }
before=("${memory[@]}")
refuses '"output": "jsonl", got "csv"' --output csv
refuses '"keep_seen": false, got true' --keep-seen
refuses '"model": ' --model popular.safetensors
memory_of --data asked.txt --titles movies.csv --count 6
refuses '"count": 5, got 6'
memory_of --data users.txt --titles movies.csv --count 5
refuses '"data": '
memory_of --data asked.txt --count 5
refuses '"titles": '
memory=("$cmnrec" recommend --data asked.txt --titles movies.csv --count 5 --part-users 8 --all)
refuses '"part_users": 7, got 8'
memory=("${before[@]}")
touch shared-1/notes.txt
run 0 "${memory[@]}" --out shared-1 --output csv --force
says "wrote 14 parts; finished parts: 14 of 14"
same shared-1 csv memory.csv
if compgen -G "shared-1/*.jsonl" > /dev/null; then fail "expected the parts of the other run to be removed"; fi
[[ -e shared-1/notes.txt ]] || fail "expected other files to stay"

# --- kills and errors --------------------------------------------------------------------------

awk 'BEGIN {
  for (u = 1; u <= 30000; ++u) {
    printf "%d", u
    for (t = 0; t < 8; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 5)) % 40
    print ""
  }
}' > many.txt
many=("$peterrec" recommend --base base.safetensors --data many.txt --count 20 --threads 1 --all --part-users 500)
run 0 "${many[@]}" --out whole
cat whole/part-*.jsonl > whole.jsonl
killed=0
for ((kill = 0; kill < 12; ++kill)); do
  "${many[@]}" --out killed > out 2>&1 &
  pid=$!
  sleep "0.$(printf %03d $((20 + RANDOM % 300)))"
  status=0
  kill -9 $pid 2> /dev/null || true
  wait $pid 2> /dev/null || status=$?
  if ((status == 137)); then ((++killed)); fi
  for part in killed/part-*.jsonl; do
    [[ ! -e $part ]] || cmp -s "$part" "whole/${part##*/}" || fail "expected a complete $part after a kill"
  done
  # The same run is killed again, also when it has finished.
  if (($(compgen -G "killed/part-*.jsonl" | wc -l) == 60)); then rm killed/part-*[1-9].jsonl; fi
done
((killed > 0)) || fail "no run was killed"
run 0 "${many[@]}" --out killed
same killed jsonl whole.jsonl
is_clean killed

"${many[@]}" --out stopped > out 2>&1 &
pid=$!
for ((waited = 0; waited < 6000; ++waited)); do
  if [[ -e stopped/part-00000.jsonl ]]; then break; fi
  sleep 0.005
done
status=0
kill -TERM $pid
wait $pid || status=$?
((status == 130)) || fail "expected exit code 130 after SIGTERM, got $status"
says "interrupted: the part that was being written is discarded; the same command continues with it"
is_clean stopped
run 0 "${many[@]}" --out stopped
same stopped jsonl whole.jsonl

# A file that cannot be written: its name is in the error, and nothing of it is left.
status=0
(
  trap '' XFSZ
  ulimit -f 1
  exec "${many[@]}" --out limited
) > out 2>&1 || status=$?
((status == 1)) || fail "expected exit code 1 for a part that cannot be written, got $status"
says "limited/part-00000.jsonl: cannot be written: File too large"
[[ ! -e limited/part-00000.jsonl ]] || fail "a part is left that could not be written"
is_clean limited

run 1 "${many[@]}"
says "--all: expected the folder of the files in --out, got none"
run 1 "${many[@]}" --out whole --user 3
says "--user: expected no --all beside it"
run 1 "${many[@]}" --out whole --output text
says "--output: expected jsonl or csv with --all, got text"
run 1 "${many[@]}" --out whole --part 0/3
says "--part: expected one of I/N with 1 <= I <= N, such as 3/16, got '0/3'"
run 1 "${many[@]}" --out many.txt
says "many.txt: is not a folder"
run 1 "$peterrec" recommend --base base.safetensors --history 1 --out whole
says "--out: expected --all beside it"
run 1 "$peterrec" recommend --base base.safetensors --all --out whole
says "--all: expected the users' behaviour in --data, got none"
run 1 "$cmnrec" recommend --all --out whole
says "--all: expected the users' behaviour in --data, got none"
echo "recommend --all: passed"
