#!/usr/bin/env bash
# recommend --all on a full disk: tests/examples/recommend_all_disk.sh PETERREC
# It needs the right to mount a file system of limited size.
set -euo pipefail

peterrec=$(realpath "$1")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

mkdir disk
if ! mount -t tmpfs -o size=256k tmpfs disk 2> /dev/null; then
  echo "SKIPPED: no right to mount a small file system"
  exit 0
fi
trap 'umount "$folder/disk"; rm -rf "$folder"' EXIT

awk 'BEGIN {
  for (u = 1; u <= 900; ++u) {
    printf "%d", u
    for (t = 0; t < 8; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 5)) % 40
    print ""
  }
}' > users.txt
"$peterrec" pretrain --data users.txt --channels 8 --dilations 1,2 --epochs 1 --force --threads 2 > out 2>&1 || fail "pretrain"
all=("$peterrec" recommend --data users.txt --count 20 --threads 1 --all --part-users 100)
"${all[@]}" --out whole > out 2>&1 || fail "a run with room"
status=0
"${all[@]}" --out disk/parts > out 2>&1 || status=$?
((status == 1)) || fail "expected exit code 1 on a full disk, got $status"
grep -qE "^peterrec: .*disk/parts/part-0000[1-8]\.jsonl: cannot be written: No space left on device" out || fail "expected the file and the reason"
finished=0
for part in disk/parts/part-*.jsonl; do
  cmp -s "$part" "whole/${part##*/}" || fail "expected a complete $part"
  ((++finished))
done
((finished > 0 && finished < 9)) || fail "expected some of 9 parts, got $finished"
if compgen -G "disk/parts/*.tmp" > /dev/null; then fail "a temporary file is left"; fi
mount -o remount,size=8m disk
"${all[@]}" --out disk/parts > out 2>&1 || fail "the same command with room"
cat disk/parts/part-*.jsonl | cmp -s - <(cat whole/part-*.jsonl) || fail "the parts differ"
echo "recommend --all on a full disk: passed"
