#!/usr/bin/env bash
# Sequence stores in the programs: tests/examples/store.sh PETERREC CMNREC
# Training from a store must give the bytes of training from the log, and preparing must never leave
# half a store.
set -euo pipefail

peterrec=$(realpath "$1")
cmnrec=$(realpath "$2")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# 240 users in no order of the lines: times order their events.
awk 'BEGIN {
  print "userId,movieId,rating,timestamp"
  for (t = 12; t > 0; --t)
    for (u = 1; u <= 300; ++u)
      if ((u * t) % 5 != 0) printf "u%d,i%d,4,%d\n", (u * 7) % 300 + 1, (u * 3 + t * (1 + u % 2)) % 40, 1000000000 + t * 60
}' > log.csv
awk 'BEGIN { for (u = 1; u <= 40; ++u) printf "%d,%d,%d,,%d\n", u % 9, (u + 1) % 9, (u + 2) % 9, 100 + u % 4 }' > transfer.csv

# The store is the same from a file and from the standard input, for every memory.
run 0 "$peterrec" prepare --data log.csv --out events.store
says "events.store: 240 sequences, 2,400 events, 40 items in "
says "log.csv: read as ratings_csv: user \"userId\""
run 0 "$cmnrec" prepare --data - --out piped.store --memory 8M < log.csv
cat log.csv | run 0 "$cmnrec" prepare --data - --out piped2.store --memory 64MB --format ratings_csv
for file in items.i32 ends.i64 item_ids.text item_ids.ends users.text users.ends; do
  cmp "events.store/$file" "piped.store/$file"
  cmp "events.store/$file" "piped2.store/$file"
done

# Training from the store and from the log gives equal files.
pretrain=(pretrain --channels 8 --dilations 1,2 --epochs 2 --threads 2 --length 8 --min-count 2)
run 0 "$peterrec" "${pretrain[@]}" --data log.csv --out log.base
run 0 "$peterrec" "${pretrain[@]}" --data events.store --out store.base
says "events.store: read as a sequence store of log.csv, ratings_csv: user"
cmp log.base store.base
train=(train --kind gru4rec --hidden 8 --embedding 8 --threads 2 --length 6 --min-item-count 30)
for options in "" --leave-last-out; do
  run 0 "$cmnrec" "${train[@]}" --epochs 2 $options --data log.csv --out log.model --force
  run 0 "$cmnrec" "${train[@]}" --epochs 2 $options --data events.store --out store.model --force
  cmp log.model store.model
done
run 0 "$cmnrec" evaluate --data events.store --model log.model
run 0 "$peterrec" recommend --data log.csv --base log.base --user u9 --output csv
cp out expected
run 0 "$peterrec" recommend --data events.store --base log.base --user u9 --output csv
diff <(grep '^u9' expected) <(grep '^u9' out)

# Two domains.
run 0 "$peterrec" prepare --data transfer.csv --out transfer.store
finetune=(finetune --base t.base --task items --bottleneck 2 --epochs 1 --threads 2 --length 4 --force)
run 0 "$peterrec" pretrain --channels 8 --dilations 1 --epochs 1 --threads 2 --length 4 --data transfer.store --out t.base --force
run 0 "$peterrec" "${finetune[@]}" --data transfer.csv --out log.patch
run 0 "$peterrec" "${finetune[@]}" --data transfer.store --out store.patch
cmp log.patch store.patch

# The order in blocks is another one, and the same from both.
run 0 "$peterrec" "${pretrain[@]}" --shuffle blocks --data log.csv --out log.blocks
run 0 "$peterrec" "${pretrain[@]}" --shuffle blocks --data events.store --out store.blocks
cmp log.blocks store.blocks
if cmp -s log.base log.blocks; then fail "--shuffle blocks changed nothing"; fi

# Errors.
run 1 "$peterrec" prepare --data log.csv --out events.store
says "events.store: exists already: remove it or name another folder"
run 1 "$peterrec" prepare --data log.csv
says "--out: expected the name of a folder, got none"
run 1 "$peterrec" prepare --data log.csv,transfer.csv --out x
says "--data: expected one file, or - for the standard input, got 2"
run 1 "$peterrec" prepare --data log.csv --out x --memory 8X
says "--memory: expected a size such as 8388608, 512M or 4G, got '8X'"
run 1 "$peterrec" prepare --data log.csv --out x --memory 1M
says "expected memory_bytes (--memory) of at least 8388608, got 1048576"
run 1 "$peterrec" prepare --data - --out x < /dev/null
says "standard input: the file is empty"
mkdir folder
run 1 "$peterrec" pretrain --data folder --out x
cp -r events.store cut.store
truncate -s -4 cut.store/items.i32
run 1 "$peterrec" "${pretrain[@]}" --data cut.store --out x
says "cut.store/items.i32: expected a file of "
[[ ! -e x ]] || fail "a refused command left a result"

# A store that shrinks during training: data in use was copied, and the next start refuses it.
cp -r events.store shrunk.store
"$cmnrec" "${train[@]}" --data shrunk.store --out shrunk.model --epochs 100000 --patience 100000 --log log > out 2>&1 &
pid=$!
until grep -qs epoch log; do
  kill -0 "$pid" 2> /dev/null || fail "the training ended too early"
  sleep 0.02
done
truncate -s 0 shrunk.store/items.i32
sleep 0.2
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
((status == 130)) || fail "expected exit code 130 of an interrupted training, got $status"

# A killed preparation leaves no store, and the next one removes its folder.
awk 'BEGIN { for (i = 0; i < 2000000; ++i) print "u" (i * 7919) % 50000, "i" i % 1000 }' > large.txt
"$peterrec" prepare --data large.txt --out killed.store > out 2>&1 &
pid=$!
until compgen -G "killed.store.*.tmp" > /dev/null; do sleep 0.01; done
kill -KILL "$pid"
wait "$pid" 2> /dev/null || true
[[ ! -e killed.store ]] || fail "a killed preparation left a store"
run 1 "$peterrec" pretrain --data killed.store.*.tmp --out x
"$peterrec" prepare --data large.txt --out killed.store > out 2>&1 &
pid=$!
until compgen -G "killed.store.$pid.*.tmp" > /dev/null; do
  kill -0 "$pid" 2> /dev/null || break
  sleep 0.01
done
kill -TERM "$pid" 2> /dev/null || true
status=0
wait "$pid" || status=$?
((status == 130 || status == 0)) || fail "expected exit code 130 after SIGTERM, got $status"
if ((status == 130)); then says "prepare: interrupted; nothing was written"; fi
if compgen -G "killed.store.*.tmp" > /dev/null; then fail "a temporary folder is left"; fi

# A full disk.
if mkdir full && mount -t tmpfs -o size=4m none full 2> /dev/null; then
  run 1 "$peterrec" prepare --data large.txt --out full/events.store
  says "No space left on device"
  [[ -z "$(ls -A full)" ]] || fail "a full disk left $(ls full)"
  umount full
else
  echo "SKIPPED: a full disk: no permission to mount a tmpfs"
fi
echo "all good"
