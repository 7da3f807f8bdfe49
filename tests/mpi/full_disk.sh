#!/usr/bin/env bash
# A full disk of one process: tests/mpi/full_disk.sh LAUNCHER PETERREC MPI_TESTS
# The error must name rank, host and file once, all processes must end, and the state that was saved
# before must continue to the result of an unbroken run. MPI_TESTS: refrain_mpi_tests.
# Needs the right to mount file systems of limited size.
set -euo pipefail

launcher=$1
peterrec=$(realpath "$2")
mpi_tests=$(realpath "$3")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"
need_launcher "a full disk"
mkdir disk
if ! unshare --mount true 2> /dev/null || ! mount -t tmpfs -o size=512k tmpfs disk 2> /dev/null; then
  echo "SKIPPED: a full disk: no right to mount a small file system"
  exit 0
fi
trap 'umount "$folder/disk"; rm -rf "$folder"' EXIT
# fill: leaves no room on the disk. no_process TEXT: no process has TEXT in its command line.
fill() { cat /dev/zero > disk/filler 2> /dev/null || true; }
no_process() { if grep -lsa -- "$1" /proc/[0-9]*/cmdline; then fail "expected all processes to end"; fi; }
# names_once RANK FILE: the output has one line with rank and host, the file and the reason.
names_once() {
  (($(grep -cE "rank $1 \([^)]+\): .*$2.*No space left on device" out) == 1)) || fail "expected the error of rank $1 with $2 once"
  (($(grep -c "No space left on device" out) == 1)) || fail "expected one error"
}

# The state of a training, which the first process saves after each epoch.
state=$folder/disk/state
long=("$peterrec" "${base[@]}" --data log.csv --slices 8 --patience 100000)
mpi 3
start_training log.jsonl "${start[@]}" "${long[@]}" --epochs 100000 --resume "$state" --log log.jsonl --out refused
fill
job_ends 1
names_once 0 disk/state
no_process "$state"
[[ ! -e refused ]] || fail "a failed training wrote its result"
rm disk/filler
if compgen -G "disk/*.tmp" > /dev/null; then fail "a temporary file is left"; fi
epochs=$(($(wc -l < log.jsonl) + 2))
mpi 2
run 0 "${start[@]}" "${long[@]}" --epochs "$epochs" --resume "$state" --out continued
run 0 "${long[@]}" --epochs "$epochs" --out unbroken
same unbroken continued

# The result.
rm -f disk/*
fill
mpi 3
run 1 "${start[@]}" "${long[@]}" --epochs "$epochs" --resume kept --out disk/result
names_once 0 disk/result
no_process "$folder/kept"
[[ ! -e disk/result ]] || fail "expected no part of a result"
rm disk/filler
run 0 "${start[@]}" "${long[@]}" --epochs "$epochs" --resume kept --out disk/result
same unbroken disk/result

# The parts of a sharded item table. The second process has the checkpoint on a disk of its own,
# with room for half of a part.
cat > small_disk << 'END'
#!/bin/bash
cp -r parts copy
mount -t tmpfs -o size=$(($(du -sk copy | cut -f1) + 8))k tmpfs parts
cp copy/* parts
rm -r copy
exec "$@"
END
chmod +x small_disk
items=("$mpi_tests" items 20000 16)
run 0 "${items[@]}" 6
unbroken=$(grep "table and moments" out)
mpi 3
run 0 "${start[@]}" "${items[@]}" 2 parts
before=$(cat parts/* | sha256sum)
run 1 "${start[@]}" ./for_rank 1 unshare --mount ./small_disk -- "${items[@]}" 6 parts
names_once 1 "parts/items-3-[0-9]+.safetensors"
[[ "$(cat parts/* | sha256sum)" == "$before" ]] || fail "a failed save changed the checkpoint"
mpi 2
run 0 "${start[@]}" "${items[@]}" 6 parts
says_once "$unbroken"
echo "all good"
