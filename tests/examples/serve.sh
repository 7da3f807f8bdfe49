#!/usr/bin/env bash
# The serve example end to end: tests/examples/serve.sh SERVE PETERREC CMNREC
# Answers must equal the recommendations of the programs that wrote the files, no input line may end
# the server, and users' states must survive a restart.
set -euo pipefail

serve=$(realpath "$1")
peterrec=$(realpath "$2")
cmnrec=$(realpath "$3")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# train PROGRAM ARGUMENTS...: runs a program, which must succeed.
train() { "$@" --threads 2 > out 2> errors || fail "$*"; }

# run STATUS ARGUMENTS...: serves the lines of the file in, writes the answers to the file out, and
# expects this exit code.
run() {
  local expected=$1 status=0
  shift
  "$serve" "$@" < in > out 2> errors || status=$?
  expect_status "$expected" "$status" "$@"
}

lines() { (($(wc -l < out) == $1)) || fail "expected $1 lines of answers"; }

# Prints the ids of the recommended items, one line for each answer, such as "4 7 1".
ids() { sed -nE '/"best"/{s/"score":[^}]*//g; s/.*"best":\[//; s/[^0-9,]//g; s/,+/ /g; s/ $//; p}' out; }

# Prints the ids that the command recommend of a program printed.
printed() { sed -nE 's/^ +[0-9]+\. ([0-9]+) .*/\1/p' out | xargs; }

awk 'BEGIN {
  for (u = 1; u <= 60; ++u) {
    printf "%d", u
    for (t = 0; t < 8; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 3)) % 40
    print ""
  }
  printf "61"
  for (i = 1; i <= 20; ++i) printf " %d", i
  print ""
}' > users.txt
awk 'BEGIN { for (u = 1; u <= 61; ++u) printf "%d::%s::25::1::0\n", u, u % 2 ? "F" : "M" }' > users.dat

train "$peterrec" pretrain --data users.txt --channels 8 --dilations "1,2" --epochs 2 --hold-out-last
train "$peterrec" finetune --data users.txt --profiles users.dat --task next,gender --epochs 1

# A user's events and the same history in one request give the list of peterrec recommend. The
# sequence of 20 items and [TCL] is longer than the receptive field, so padding has no effect.
history=$(seq -s , 1 20)
train "$peterrec" recommend --count 5 --history "$history"
expected_base=$(printed)
train "$peterrec" recommend --patch next.patch.safetensors --task next --count 5 --history "$history"
expected_next=$(printed)
{
  for i in $(seq 1 20); do echo "{\"user\": \"u\", \"item\": \"$i\"}"; done
  echo '{"user": "u", "task": "base", "k": 5}'
  echo "{\"history\": [$history], \"task\": \"base\", \"k\": 5}"
  echo '{"user": "u", "task": "next", "k": 5}'
  echo "{\"history\": [$history], \"task\": \"next\", \"k\": 5}"
} > in
for threads in 1 3; do
  run 0 --base base.safetensors --patch next.patch.safetensors --threads $threads
  lines 4
  [[ $(ids | sort | uniq -c | awk '{ print $1 }' | xargs) == "2 2" ]] || fail "a history and the same events differ"
  for list in "$expected_base" "$expected_next"; do ids | grep -qxF "$list" || fail "expected the list $list"; done
done

# The base answers the task "next" with its own head until a patch for this task is loaded.
{
  for task in next base; do echo "{\"history\": [$history], \"task\": \"$task\", \"k\": 5}"; done
  echo '{"load": "next.patch.safetensors"}'
  for task in next base; do echo "{\"history\": [$history], \"task\": \"$task\", \"k\": 5}"; done
  echo '{"unload": "next"}'
  echo "{\"history\": [$history], \"task\": \"next\", \"k\": 5}"
} > in
run 0 --model base.safetensors
expected=$(printf '%s\n' "$expected_base" "$expected_base" "$expected_next" "$expected_base" "$expected_base")
[[ "$(ids)" == "$expected" ]] || fail "expected the lists of base, base, next, base, base: $expected"
says '{"line":1,"task":"next","source":"pass","best":'

# A non-causal base cannot process events one by one: it reads sequences of its training length, as
# peterrec recommend does, for longer and shorter histories.
two_way=(--non-causal --length 7)
train "$peterrec" pretrain --data users.txt "${two_way[@]}" --channels 8 --dilations "1,2" --epochs 2 --hold-out-last --out both.safetensors
train "$peterrec" finetune --data users.txt --base both.safetensors --task next --length 7 --epochs 1 --out both.patch.safetensors
for history in 3,9,4 "$history"; do
  train "$peterrec" recommend --base both.safetensors --length 7 --count 10 --history "$history"
  printed > expected
  train "$peterrec" recommend --base both.safetensors --patch both.patch.safetensors --task next --count 10 --history "$history"
  printed >> expected
  {
    for i in ${history//,/ }; do echo "{\"user\": \"u\", \"item\": \"$i\"}"; done
    echo '{"user": "u", "task": "base", "k": 10}'
    echo '{"user": "u", "task": "next", "k": 10}'
  } > in
  run 0 --base both.safetensors --patch both.patch.safetensors
  ids | cmp -s expected - || fail "expected the lists of peterrec recommend: $(cat expected)"
done

# Each invalid line is answered by an error with its number, and the next line is read.
printf '%s\n' '{"user": "a", "item": 1}' 'no json' '[1]' '{"user": "a"}' '{"user": "a", "item": "99"}' \
  '{"user": "a", "task": "other"}' '{"user": "b", "task": "base"}' '{"user": "a", "task": "base", "k": 0}' \
  '{"user": "a", "task": "base", "k": 1.5}' '{"user": {}, "item": 1}' '{"user": "a", "item": 1, "more": 1}' '' \
  '{"history": [], "task": "base"}' '{"load": "absent"}' '{"unload": "gender"}' $'{"user": "\xff", "item": 1}' \
  '{"user": "a", "task": "base", "k": 2}' > in
run 0 --base base.safetensors --measure
lines 14
for line in 2 3 4 6 8 9 10 11 14 15 16; do
  grep -qE "^\{\"line\":$line,.*\"error\":" out || fail "expected an error of line $line"
done
says '{"line":2,"error":"expected JSON, got '"'no'"' at byte 2"}'
says '{"line":4,"error":"expected \"item\" (an event) or \"task\" (a request), got neither"}'
says '{"line":6,"user":"a","task":"other","error":"unknown task '"'other'; loaded: base"'"}'
says '{"line":7,"user":"b","task":"base","source":"popular","best":[{"id":'
says '{"line":17,"user":"a","task":"base","source":"state","best":[{"id":'
says '17 lines, 11 errors, 1 unknown items' errors
says 'serve: 1 event of items that the model does not know' errors
says 'events: 2, p50' errors
says 'requests: 3, p50' errors

# Unusual lines: with a timestamp, with unknown items, with the fields of several kinds, incomplete.
printf '%s\n' '{"user": "a", "item": 1, "timestamp": 1700000000}' '{"history": [1, "new", 2, "newer"], "task": "base", "k": 1}' \
  '{"history": ["new"], "task": "base"}' '{"user": "a", "history": [1], "task": "base"}' '{"user": "a", "item": 1, "task": "base"}' \
  '{}' '{"user": "", "item": 1}' '{"user": "a", "item": 1' '{"unload": "base"}' '{"user": "a", "item": 1, "time": 1700000000}' \
  '{"user": "a", "item": 1, "item": 2}' '{"load": "next.patch.safetensors\u0000"}' > in
run 0 --base base.safetensors
lines 10
says '{"line":2,"task":"base","unknown":2,"source":"pass","best":[{"id":'
says '{"line":3,"task":"base","unknown":1,"source":"popular","best":[{"id":'
says '{"line":4,"error":"expected \"user\" or \"history\", got both"}'
says '{"line":5,"error":"expected \"item\" (an event) or \"task\" (a request), got both"}'
says '{"line":6,"error":"expected \"user\", \"history\", \"load\", \"unload\", \"filter\" or \"drop_filter\", got none"}'
says '{"line":7,"error":"\"user\": expected a name, got an empty string"}'
says '{"line":8,"error":"expected JSON, got an incomplete line"}'
says '{"line":11,"error":"duplicate key \"item\""}'
says '{"line":12,"error":"\"load\": expected a file path, got a text with a NUL byte after'
says '{"line":9,"error":"task '"'base' belongs to the base and cannot be unloaded"'"}'

# A history without known items is answered by the most frequent items, as in peterrec recommend.
for task in base next gender; do
  patches=$([[ $task == base ]] || echo "--patch $task.patch.safetensors")
  # shellcheck disable=SC2086
  train "$peterrec" recommend $patches --task $task --count 2 --history new --history
  sed -nE 's/^ +[0-9]+\. ([0-9]+) .*/\1/p; s/^  ([MF]) .*/\1/p' out | xargs > expected
  printf '%s\n' "{\"history\": [\"new\"], \"task\": \"$task\", \"k\": 2}" "{\"user\": \"none\", \"task\": \"$task\", \"k\": 2}" > in
  # shellcheck disable=SC2086
  run 0 --base base.safetensors $patches
  (($(grep -c '"source":"popular"' out) == 2)) || fail "expected two lists of the most frequent items"
  [[ $(grep -oE '"id":"[0-9MF]+"' out | cut -d '"' -f 4 | xargs) == "$(cat expected)" ]] || fail "expected the lists of peterrec recommend: $(cat expected)"
done

# Requests select items: the answers are the allowed ones of the complete list, in its order.
printf '40::Tea (2026)::Drink\n39::Milk::Drink\n' > movies.dat
complete='{"history": [3, 9], "task": "next", "k": 40'
printf '%s\n' '{"filter": "high", "items": [36, 37, 38, 39, 40, "new"]}' '{"filter": "odd", "items": [35, 37, 39]}' "$complete}" \
  "$complete, \"filter\": \"high\"}" "$complete, \"filter\": [\"high\", \"odd\"]}" "$complete, \"allow\": [1, 3, 2, \"new\"]}" \
  "$complete, \"exclude\": [40, \"new\"], \"filter\": \"high\"}" "$complete, \"allow\": [9, 3, 1], \"seen\": \"include\"}" "$complete, \"allow\": []}" \
  '{"drop_filter": "odd"}' "$complete, \"filter\": \"odd\"}" '{"drop_filter": "odd"}' \
  '{"user": "none", "task": "next", "fallback": "none"}' '{"history": ["new"], "task": "next", "fallback": "none"}' > in
run 0 --base base.safetensors --patch next.patch.safetensors --titles movies.dat
lines 14
answer() { sed -n "/^{\"line\":$1,/p" out; }
listed() { answer "$1" | grep -oE '"id":"[0-9]+"' | tr -dc '0-9\n'; }
# ordered IDS: these items in the order of the complete list
ordered() { listed 3 | grep -xE "${1// /|}" | xargs; }
says '{"line":1,"filter":"high","items":6,"unknown":1}'
says '{"line":2,"filter":"odd","items":3}'
(($(listed 3 | wc -l) == 38)) || fail "expected the 38 items outside of the history"
[[ $(listed 4 | xargs) == "$(ordered '36 37 38 39 40')" ]] || fail "expected the items of the filter"
[[ $(listed 5 | xargs) == "$(ordered '37 39')" ]] || fail "expected the items of both filters"
[[ $(listed 6 | xargs) == "$(ordered '1 2')" ]] || fail "expected the allowed items that were not seen"
says '{"line":6,"task":"next","unknown":1,"source":"pass","best":[{"id":'
[[ $(listed 7 | xargs) == "$(ordered '36 37 38 39')" ]] || fail "expected the items of the filter except for one"
[[ $(listed 8 | sort -n | xargs) == "1 3 9" ]] || fail "expected items of the history again"
says '{"line":9,"task":"next","source":"pass","best":[]}'
says '{"line":10,"dropped_filter":"odd"}'
says '{"line":11,"task":"next","error":"unknown filter '"'odd'; set: high"'"}'
says '{"line":12,"error":"unknown filter '"'odd'; set: high"'"}'
says '{"line":13,"user":"none","task":"next","error":"user '"'none'"' has no events"}'
says '{"line":14,"task":"next","error":"the model knows no item of the history"}'
says '{"id":"40","title":"Tea (2026)","score":'
says '{"id":"38","score":'

# One request is answered by several tasks as each of them answers alone.
request='{"history": [3, 9, "new"], "k": 2'
printf '%s\n' "$request, \"task\": \"next\"}" "$request, \"task\": \"gender\"}" "$request, \"tasks\": [\"next\", \"gender\"]}" \
  "$request, \"tasks\": [\"next\", \"other\"]}" > in
run 0 --base base.safetensors --patch next.patch.safetensors,gender.patch.safetensors
lines 4
together="{\"line\":3,\"answers\":[{$(answer 1 | sed 's/^{"line":1,//'),{$(answer 2 | sed 's/^{"line":2,//')]}"
[[ $(answer 3) == "$together" ]] || fail "expected $together"
says '{"line":4,"tasks":["next","other"],"error":"unknown task '"'other'"

# The probabilities of classes sum to one.
printf '%s\n' '{"history": [1, 2, 3], "task": "gender"}' > in
run 0 --base base.safetensors --patch gender.patch.safetensors
sum=$(grep -oE '"probability":[0-9.e-]+' out | awk -F: '{ sum += $2 } END { printf "%.3f", sum }')
[[ "$sum" == 1.000 ]] || fail "expected probabilities that sum to 1, got $sum"
cp gender.patch.safetensors again.patch.safetensors
run 1 --base base.safetensors --patch gender.patch.safetensors,again.patch.safetensors
says "--patch: expected one file per task, got again.patch.safetensors for task gender again" errors

# Lines that are nested too deeply or are too long are answered by errors.
{
  head -c 100000 /dev/zero | tr '\0' '[' | sed 's/^/{"user": "a", "task": "base", "k": /'
  echo
  head -c 100000 /dev/zero | tr '\0' '[' | sed 's/^/{"user": "a", "task": "base", "k": /'
  head -c 100000 /dev/zero | tr '\0' ']'
  echo '}'
  head -c 3145728 /dev/zero | tr '\0' ' '
  echo '{"user": "a", "item": 1}'
  echo '{"history": [1], "task": "base", "k": 1}'
} > in
run 0 --base base.safetensors
lines 4
for line in 1 2; do says "{\"line\":$line,\"error\":"; done
says '{"line":3,"error":"expected a line of at most 1048576 bytes, got a longer one"}'
says '"line":4,"task":"base","source":"pass","best":[{"id":'

# Tasks are loaded and unloaded.
printf '%s\n' '{"user": 7, "item": 3}' '{"user": 7, "task": "gender"}' '{"load": "gender.patch.safetensors"}' \
  '{"user": 7, "task": "gender"}' '{"unload": "gender"}' '{"user": 7, "task": "gender", "k": 2}' > in
run 0 --base base.safetensors
says '{"line":2,"user":"7","task":"gender","error":"unknown task'
says '{"line":3,"loaded":"gender"}'
says '"line":4,"user":"7","task":"gender","source":"state","best":[{"id":"'
[[ $(sed -n 's/.*"line":4,//p' out | grep -o '"id"' | wc -l) == 2 ]] || fail "expected both classes of the task"
says '{"line":5,"unloaded":"gender"}'
says '{"line":6,"user":"7","task":"gender","error":"unknown task'

# Users' states continue in another run with another number of threads as in a single run.
{
  for i in 3 1 4 1 5; do for u in a b c; do echo "{\"user\": \"$u\", \"item\": $i}"; done; done
  for u in a b c; do echo "{\"user\": \"$u\", \"task\": \"next\", \"k\": 6}"; done
} > first
{
  for i in 9 2 6; do for u in a b c; do echo "{\"user\": \"$u\", \"item\": $i}"; done; done
  for u in a b c; do echo "{\"user\": \"$u\", \"task\": \"next\", \"k\": 6}"; done
} > second
cat first second > in
run 0 --base base.safetensors --patch next.patch.safetensors
ids | tail -n 3 > at_once
cp first in
run 0 --base base.safetensors --patch next.patch.safetensors --states users.states
cp second in
run 0 --base base.safetensors --patch next.patch.safetensors --states users.states --threads 2
ids > later
cmp -s at_once later || fail "restored users get different answers"

# A signal ends the input: all lines that were read are answered, and the users' states are saved.
mkfifo pipe
rm -f out errors
"$serve" --base base.safetensors --states kept.states --threads 2 < pipe > out 2> errors &
server=$!
exec 3> pipe
echo '{"user": "late", "item": "3"}' >&3
echo '{"history": ["3"], "task": "base", "k": 1}' >&3
for _ in {1..200}; do if [[ -s out ]]; then break; fi; sleep 0.05; done
kill -TERM "$server"
wait "$server" || fail "expected exit code 0 after a signal"
exec 3>&-
says 'users'"'"' states are in kept.states' errors
echo '{"user": "late", "task": "base", "k": 3}' > in
run 0 --base base.safetensors --states kept.states
says '"user":"late"'

# When the reader of the answers exits or the disk is full, events that were read are saved, and the
# exit code reports the failure.
{
  echo '{"user": "kept", "item": "3"}'
  for _ in {1..3000}; do echo '{"user": "kept", "task": "base", "k": 30}'; done
} > many
for threads in 1 2; do
  rm -f gone.states full.states
  status=0
  "$serve" --base base.safetensors --states gone.states --threads $threads < many 2> errors | head -n 1 > out || status=$?
  ((status == 1)) || fail "expected exit code 1 for a closed pipe, got $status"
  says 'serve: answers cannot be written: Broken pipe; users'"'"' states are in gone.states' errors
  status=0
  "$serve" --base base.safetensors --states full.states --threads $threads < many > /dev/full 2> errors || status=$?
  ((status == 1)) || fail "expected exit code 1 for a full disk, got $status"
  says 'serve: answers cannot be written: No space left on device; users'"'"' states are in full.states' errors
  echo '{"user": "kept", "task": "base", "k": 1}' > in
  for states in gone full; do
    run 0 --base base.safetensors --states $states.states
    says '"user":"kept"'
  done
done
# The reader of standard output and standard error exits while the input continues.
status=0
("$serve" --base base.safetensors --threads 2 < pipe 2>&1 | head -n 1 > out) &
reader=$!
exec 3> pipe
cat many >&3 || true
wait "$reader" || status=$?
exec 3>&-
((status == 1)) || fail "expected exit code 1 for a closed pipe, got $status"

# A path to which states cannot be written is an error before the first line is served.
run 1 --base base.safetensors --states absent/users.states
says '--states: expected a file in an existing folder, got absent/users.states' errors
[[ ! -s out ]] || fail "expected no answers"

head -c 2000 users.states > short.states
run 1 --base base.safetensors --states short.states
says 'short.states: is truncated' errors
train "$peterrec" pretrain --data users.txt --channels 8 --dilations "1,2" --epochs 1 --seed 2 --out other.safetensors
run 1 --base other.safetensors --states users.states
says 'belongs to another model' errors

# CmnRec: from the user's state with the schedule every:G, by full passes with pec.
sizes=(--hidden 8 --embedding 8 --word-size 8 --length 8 --slots 2 --min-length 2 --epochs 1 --split "0.6,0.2,0.2")
for schedule in every:3 pec; do
  train "$cmnrec" train --data users.txt "${sizes[@]}" --schedule $schedule --out cmnrec.safetensors
  # The history has the length of the program's input: 8 items.
  train "$cmnrec" recommend --model cmnrec.safetensors --history 1,2,3,4,5,6,7,8 --count 5
  expected=$(printed)
  {
    for i in $(seq 1 8); do echo "{\"user\": \"u\", \"item\": $i}"; done
    echo '{"user": "u", "task": "next", "k": 5}'
    echo '{"history": [1, 2, 3, 4, 5, 6, 7, 8], "task": "next", "k": 5}'
    echo '{"history": [1, 2, 3, 4, 5, 6, 7, 8], "task": "base", "k": 5}'
  } > in
  run 0 --model cmnrec.safetensors --padding 0
  lines 3
  [[ $(ids | uniq) == "$expected" ]] || fail "$schedule: expected the list $expected each time"
done
# Histories are padded to the training length of the model unless --padding is given.
run 0 --base cmnrec.safetensors --states cmnrec.states
run 0 --base cmnrec.safetensors --states cmnrec.states --padding 8
run 1 --base cmnrec.safetensors --states cmnrec.states --padding 50
says 'padding 8' errors
run 1 --base cmnrec.safetensors --patch next.patch.safetensors
says '--patch: expected a base of peterrec' errors
echo passed
