#!/usr/bin/env bash
# Sharded item tables on several processes: bench/sharded_items.sh LAUNCHER MPI_TESTS [PART...]
#   equal    100,000 items, 200 steps: table and moments on 1 to 4 processes
#   bytes    bytes that 4 processes send in a step with 10,000, 100,000 and 1,000,000 items
#   memory   4,000,000 items of width 64: memory of one process and of each of 4
# Runs all parts unless some are given, and fails where the figures are not those that
# docs/scaling.md states. MPI_TESTS: refrain_mpi_tests; the steps are those of tests/distributed/item_training.hpp.
set -euo pipefail

launcher=$1 program=$2
shift 2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export REFRAIN_THREADS=1

fail() {
  cat "$log"
  echo "FAILED: $1" >&2
  exit 1
}
# items PROCESSES ITEMS WIDTH STEPS: trains a table; the output is in $log.
items() {
  local start=("$launcher" -n "$1")
  if "$launcher" --version 2>&1 | grep -qE 'Open ?(MPI|RTE)'; then start+=(--oversubscribe --allow-run-as-root --bind-to none); fi
  "${start[@]}" "$program" items "${@:2}" > "$log" 2>&1 || fail "$1 processes"
}

equal() {
  local processes hash first=
  for processes in 1 2 3 4; do
    items "$processes" 100000 32 200
    hash=$(grep "table and moments" "$log")
    echo "$processes processes, $hash"
    [[ "$hash" == "${first:=$hash}" ]] || fail "another table"
  done
}

bytes() {
  local count sent first=
  for count in 10000 100000 1000000; do
    items 4 "$count" 32 6
    sent=$(sed -nE 's/^(rank .* sampled one);.*/\1/p' "$log" | sort)
    echo "$count items:"
    echo "$sent"
    [[ "$sent" == "${first:=$sent}" ]] || fail "other numbers of bytes"
  done
}

memory() {
  local processes most one=0
  for processes in 1 4; do
    items "$processes" 4000000 64 2
    most=$(sed -nE 's/^rank .*RssAnon ([0-9]+) kB.*/\1/p' "$log" | sort -n | tail -n 1)
    sed -nE 's/^(rank [0-9]+ of [0-9]+) .*; (RssAnon.*)/\1: \2/p' "$log" | sort
    if ((processes == 1)); then one=$most; fi
  done
  awk -v most="$most" -v one="$one" 'BEGIN {
    printf "a rank of 4 has %.3f of the memory of one process\n", most / one
    exit !(most <= 0.3 * one)
  }' || fail "expected at most 0.3"
}

for part in "${@:-equal bytes memory}"; do
  for each in $part; do
    case $each in
      equal | bytes | memory) "$each" ;;
      *) fail "expected equal, bytes or memory, got $each" ;;
    esac
  done
done
