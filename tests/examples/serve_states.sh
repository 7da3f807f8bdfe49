#!/usr/bin/env bash
# The states that serve saves, also when its answers are not read: tests/examples/serve_states.sh
# SERVE PETERREC
set -euo pipefail

serve=$(realpath "$1")
peterrec=$(realpath "$2")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

awk 'BEGIN {
  for (u = 1; u <= 60; ++u) {
    printf "%d", u
    for (t = 0; t < 8; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 3)) % 40
    print ""
  }
}' > users.txt
train() { "$peterrec" "$@" --data users.txt --threads 1 > out 2> errors || fail "$*"; }
train pretrain --channels 8 --dilations "1,2" --epochs 2 --hold-out-last
for seed in 1 2; do train finetune --task next --epochs 1 --seed $seed --learning-rate 0.0$seed --out next$seed.patch; done

# run STATUS ARGUMENTS...: serves the lines of the file in and expects this exit code.
run() {
  local expected=$1 status=0
  shift
  "$serve" --base base.safetensors "$@" < in > out 2> errors || status=$?
  expect_status "$expected" "$status" "$@"
}

# stopped PID: waits until the server has ended, at most 5 seconds, and returns its exit code.
stopped() {
  local waited=0 status=0
  while kill -0 "$1" 2> /dev/null; do
    ((++waited <= 100)) || { kill -KILL "$1"; fail "the server has not ended after 5 seconds"; }
    sleep 0.05
  done
  wait "$1" || status=$?
  return $status
}

# The answers are not read and the input does not end: one signal stops the server, and the users'
# states are saved.
mkfifo silent endless
{
  for i in $(seq 1 200); do echo "{\"user\": \"u$((i % 20))\", \"item\": \"$((1 + i % 40))\"}"; done
} > events
exec 4<> silent
for threads in 1 3; do
  rm -f kept.states
  (
    trap '' PIPE
    cat events
    while echo '{"user": "u1", "task": "base", "k": 30}'; do :; done
  ) > endless 2> /dev/null &
  writer=$!
  "$serve" --base base.safetensors --states kept.states --threads $threads < endless > silent 2> errors &
  server=$!
  for _ in {1..200}; do if [[ -e kept.states.lock ]]; then break; fi; sleep 0.02; done
  sleep 1
  kill -TERM $server
  status=0
  stopped $server || status=$?
  expect_status 1 $status "a server stopped while its answers were not read"
  says "serve: stopped by a signal; the last answers were not read and are lost; users' states are in kept.states" errors
  wait $writer 2> /dev/null || true
  [[ -e kept.states && ! -e kept.states.lock ]] || fail "expected the states, and no lock"
  for u in $(seq 0 19); do echo "{\"user\": \"u$u\", \"task\": \"base\", \"k\": 1}"; done > in
  run 0 --states kept.states
  (($(grep -c '"best"' out) == 20)) || fail "expected the states of 20 users"
  timeout 0.2 cat <&4 > /dev/null || true
done
exec 4>&-

# A slow reader gets the answers to all lines that were read before the signal.
rm -f kept.states
mkfifo slow
(sleep 0.5; cat slow > answers) &
reader=$!
mkfifo pipe
"$serve" --base base.safetensors --states kept.states < pipe > slow 2> errors &
server=$!
exec 3> pipe
for _ in {1..400}; do echo '{"history": [1, 2, 3], "task": "base", "k": 30}'; done >&3
sleep 1
kill -TERM $server
stopped $server || fail "expected exit code 0 after a signal"
exec 3>&-
wait $reader
(($(wc -l < answers) == 400)) || fail "expected 400 answers, got $(wc -l < answers)"

# Two servers cannot use the same states.
rm -f shared.states
"$serve" --base base.safetensors --states shared.states < pipe > answers 2> errors &
server=$!
exec 3> pipe
echo '{"user": "first", "item": "3"}' >&3
for _ in {1..200}; do if [[ -e shared.states.lock ]]; then break; fi; sleep 0.02; done
echo '{"user": "second", "item": "4"}' > in
ln -s shared.states another_name
cp errors first_errors
for name in shared.states ./shared.states another_name; do
  run 1 --states $name
  says "$name: is in use: another serve process uses these states" errors
done
exec 3>&-
stopped $server || fail "the first server has failed"
run 0 --states shared.states
for u in first second; do echo "{\"user\": \"$u\", \"task\": \"base\", \"k\": 1}"; done > in
run 0 --states shared.states
(($(grep -c '"best"' out) == 2)) || fail "expected the users of both servers"
# The lock of a killed server does not prevent another start.
"$serve" --base base.safetensors --states shared.states < pipe > answers 2> errors &
server=$!
exec 3> pipe
for _ in {1..200}; do if [[ -e shared.states.lock ]]; then break; fi; sleep 0.02; done
kill -KILL $server
wait $server 2> /dev/null || true
exec 3>&-
[[ -e shared.states.lock ]] || fail "expected the lock file of the killed server"
run 0 --states shared.states
(($(grep -c '"best"' out) == 2)) || fail "the lock of a killed server prevented a start"
[[ ! -e shared.states.lock ]] || fail "expected no lock"

# A file that does not contain exactly one set of states is rejected and not changed.
cat shared.states shared.states > two.states
{
  cat shared.states
  echo more
} > longer.states
for name in two longer; do
  cp $name.states before
  run 1 --states $name.states
  says "$name.states: has bytes after its last line ({\"users\": 2})" errors
  cmp before $name.states || fail "$name.states was overwritten"
done
run 1 --states ""
says "--states: expected a file name, got an empty string" errors
cp shared.states locked.states
chmod a-w locked.states
run 1 --states locked.states
says "locked.states: is read-only" errors

# Tasks are loaded and unloaded and filters are set at a high rate: every line is answered by the
# tasks and filters of the moment when it was read.
awk 'BEGIN {
  for (i = 1; i <= 2500; ++i) {
    u = i % 23
    if (i % 9 == 0) printf "{\"load\": \"next%d.patch\"}\n", 1 + i % 2
    else if (i % 31 == 0) print "{\"unload\": \"next\"}"
    else if (i % 37 == 0) printf "{\"filter\": \"some\", \"items\": [%d, %d, %d, %d]}\n", 1 + i % 40, 1 + i % 39, 1 + i % 38, 1 + i % 7
    else if (i % 223 == 0) print "{\"drop_filter\": \"some\"}"
    else if (i % 3 == 0) printf "{\"user\": \"u%d\", \"item\": %d}\n", u, 1 + i * 7 % 40
    else if (i % 17 == 0) printf "{\"history\": [%d, %d], \"task\": \"next\", \"k\": 3}\n", 1 + i % 40, 1 + i % 37
    else printf "{\"user\": \"u%d\", \"task\": \"%s\", \"k\": 3%s}\n", u, i % 5 ? "next" : "base", i % 4 ? "" : ", \"filter\": \"some\""
  }
}' > in
run 0 --states storm1.states
sort out > expected
for threads in 2 4; do
  for try in 1 2; do
    rm -f storm.states
    run 0 --threads $threads --states storm.states
    sort out | cmp -s expected - || fail "$threads threads answer differently from one: $(sort out | diff expected - | head -n 4)"
  done
done
grep -q '"unloaded"' out || fail "expected tasks to be unloaded"
grep -q '"dropped_filter"' out || fail "expected filters to be dropped"
echo passed
