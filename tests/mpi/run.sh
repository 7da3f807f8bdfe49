#!/usr/bin/env bash
# Starts refrain_mpi_tests and checks how the job ends: tests/mpi/run.sh LAUNCHER PROGRAM MODE RANKS
# Modes: those of main.cpp, and kill, which kills rank 1.
set -euo pipefail

launcher=$1 program=$2 mode=$3 ranks=$4
log=$(mktemp)
trap 'rm -f "$log"' EXIT

start=("$launcher")
if "$launcher" --version 2>&1 | grep -qE 'Open ?(MPI|RTE)'; then start+=(--oversubscribe --allow-run-as-root); fi
start+=(-n "$ranks" "$program")

fail() {
  cat "$log"
  echo "$*" >&2
  exit 1
}

# ends_with SECONDS PATTERN: the job fails within the time, and its output matches the pattern. The
# first rank that finds an error ends the others, so each mode has a pattern for every such rank.
ends_with() {
  local begin=$SECONDS
  if timeout 100 "${start[@]}" "$mode" < /dev/null > "$log" 2>&1; then fail "expected the job to fail"; fi
  if ((SECONDS - begin > $1)); then fail "the job took $((SECONDS - begin)) s, expected at most $1 s"; fi
  grep -E "$2" "$log" || fail "expected '$2' in the output"
}

case $mode in
  conformance)
    timeout 250 "${start[@]}" "$mode" < /dev/null > "$log" 2>&1 || fail "the job failed"
    grep "cases passed on $ranks ranks" "$log" || fail "expected a report of $ranks ranks"
    ;;
  train)
    timeout 250 "${start[@]}" train < /dev/null > "$log" 2>&1 || fail "the job failed"
    (($(grep -c "of $ranks trained" "$log") == ranks)) || fail "expected a hash of each of $ranks ranks"
    "$program" train < /dev/null >> "$log" 2>&1 || fail "the process on its own failed"
    (($(sed -n 's/.* trained //p' "$log" | sort -u | wc -l) == 1)) || fail "expected the hash of one process"
    grep "of 1 trained" "$log"
    ;;
  large)
    timeout 250 "${start[@]}" "$mode" < /dev/null > "$log" 2>&1 || fail "the job failed"
    grep "large message passed" "$log"
    ;;
  sleep) ends_with 20 "no answer from rank 1" ;;
  throw) ends_with 20 "planted error" ;;
  differ) ends_with 20 "the other rank called (broadcast|all_gather)" ;;
  sizes) ends_with 20 "from rank 0" ;;
  leave) ends_with 20 "the other rank (left|called all_gather)" ;;
  kill)
    "${start[@]}" wait < /dev/null > "$log" 2>&1 &
    job=$!
    victim=
    for ((i = 0; i < 600; ++i)); do
      victim=$(sed -nE 's/^rank 1 is process ([0-9]+)$/\1/p' "$log")
      if [[ -n "$victim" ]] || ! kill -0 "$job" 2> /dev/null; then break; fi
      sleep 0.1
    done
    if [[ -z "$victim" ]]; then
      kill "$job" 2> /dev/null || true
      fail "rank 1 did not start"
    fi
    kill -9 "$victim"
    for ((i = 0; i < 100; ++i)); do
      if ! kill -0 "$job" 2> /dev/null; then break; fi
      sleep 0.1
    done
    if kill "$job" 2> /dev/null; then fail "the job lasted 10 s longer than its rank 1"; fi
    if wait "$job"; then fail "expected the job to fail"; fi
    echo "the job ended $((i / 10)).$((i % 10)) s after its rank 1"
    ;;
  *) fail "unknown mode $mode" ;;
esac
