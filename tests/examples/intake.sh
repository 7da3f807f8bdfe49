#!/usr/bin/env bash
# Files of shops, and training that starts from a trained model: tests/examples/intake.sh PETERREC CMNREC
set -euo pipefail

peterrec=$(realpath "$1")
cmnrec=$(realpath "$2")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# run STATUS COMMAND...: runs a program, writes its output to the file out, and expects this exit
# code.
run() {
  local expected=$1 status=0
  shift
  "$@" --threads 2 > out 2>&1 < /dev/null || status=$?
  expect_status "$expected" "$status" "$@"
}
# refused TEXT COMMAND...: the program must end with exit code 1 and this message.
refused() {
  run 1 "${@:2}"
  says "$1"
}
pretrain=("$peterrec" pretrain --channels 8 --dilations "1,2" --epochs 1)
train=("$cmnrec" train --kind gru4rec --hidden 8 --embedding 8 --length 8 --min-length 2 --epochs 1)

# One log in four forms gives the same base: commas, semicolons and tabs, numbers and dates, known
# and chosen columns.
awk 'BEGIN { for (u = 1; u <= 40; ++u) for (t = 1; t <= 8; ++t) printf "c%d\ti%d\t%d\n", u, 1 + (u * 3 + t) % 20, t }' > events
awk -F '\t' 'BEGIN { print "user,item,timestamp" } { printf "%s,%s,%d\n", $1, $2, $3 }' events > numbers.csv
awk -F '\t' 'BEGIN { print "customer_id;\"product-id\";created_at" } { printf "%s;\"%s\";2024-02-%02d\n", $1, $2, $3 }' events > dates.csv
awk -F '\t' 'BEGIN { print "Order Date\tClientID\tsku\tprice" } { printf "2024-02-28T%02d:00:00+02:00\t%s\t%s\t3,5\n", $3, $1, $2 }' events > shop.tsv
awk -F '\t' 'BEGIN { print "wann;kunde;artikel;user_id" } { printf "2024-02-%02d 10:00;%s;%s;x\n", $3, $1, $2 }' events > german.csv
(head -n 1 dates.csv; tail -n +2 dates.csv | tac) > falling.csv
# Newest first, after ten users who have all items: the numbers of users and items are the same.
(head -n 81 dates.csv; tail -n +82 dates.csv | sort -t ';' -k 1.2,1n -k 3,3r) > newest_first.csv
columns=(--user-column kunde --item-column artikel --time-column wann)
run 0 "${pretrain[@]}" --data numbers.csv --out numbers.safetensors
for file in dates.csv newest_first.csv shop.tsv; do
  run 0 "${pretrain[@]}" --data $file --out $file.safetensors
  cmp numbers.safetensors $file.safetensors || fail "expected $file to give the base of numbers.csv"
done
says 'shop.tsv: read as ratings_csv: user "ClientID", item "sku", time "Order Date"; not read: "price"'
run 0 "${pretrain[@]}" --data german.csv "${columns[@]}" --out german.safetensors
cmp numbers.safetensors german.safetensors || fail "expected german.csv to give the base of numbers.csv"
printf '[pretrain]\ndata = ["german.csv"]\nuser-column = "kunde"\nitem-column = "artikel"\ntime-column = "wann"\n' > german.toml
run 0 "${pretrain[@]}" --config german.toml --out german.safetensors
cmp numbers.safetensors german.safetensors || fail "expected german.toml to give the base of numbers.csv"
run 0 "${pretrain[@]}" --data falling.csv --out falling.safetensors
run 0 "${train[@]}" --data german.csv "${columns[@]}" --split 0.8,0.1,0.1 --out german.safetensors
run 0 "$cmnrec" evaluate --data german.csv "${columns[@]}" --model german.safetensors
never_says "warning"

# What would train on another order, or on another column, is an error.
sed 's/created_at/updated_at/' falling.csv > unknown.csv
refused 'unknown.csv:1: column "updated_at" looks like times and is not read' "${pretrain[@]}" --data unknown.csv
says "name it with time_column (--time-column) to read it"
run 0 "${pretrain[@]}" --data unknown.csv --time-column updated_at --out named.safetensors
cmp falling.safetensors named.safetensors || fail "expected --time-column to read the times"
run 0 "${pretrain[@]}" --data unknown.csv --in-file-order --out reverse.safetensors
says 'warning: the times in column "updated_at" fall from line to line'
if cmp -s falling.safetensors reverse.safetensors; then fail "expected the order of the file to matter"; fi
sed -E 's/2024-02-0[78]/2024-02-07/' falling.csv > ties.csv
refused "ties.csv: the file is in falling time order, and 40 events have the same time as the event before" "${pretrain[@]}" --data ties.csv
sed 's/2024-02-05/05.02.2024/' dates.csv > ambiguous.csv
refused 'ambiguous.csv:6: time "05.02.2024" is a date with the year last' "${pretrain[@]}" --data ambiguous.csv
sed 's/2024-02-05/2024-02-30/' dates.csv > invalid.csv
refused 'invalid.csv:6: date "2024-02-30": expected a day from 01 to 29, got "30"' "${train[@]}" --data invalid.csv
sed 's/2024-02-05/17/' dates.csv > mixed.csv
refused 'mixed.csv:6: time "17" is a number: expected a date without an offset from UTC, as in line 2' "${train[@]}" --data mixed.csv
refused 'german.csv: looks like no known format' "${pretrain[@]}" --data german.csv
refused '--user-column): expected a column of the header, got "Kunde"; the header has wann,kunde,artikel,user_id' \
  "${pretrain[@]}" --data german.csv "${columns[@]:2}" --user-column Kunde
sed '1s/.*/user_id,customer_id,item/' numbers.csv > two.csv
refused '"user_id" and "customer_id", both mean the user: choose one with user_column (--user-column)' "${pretrain[@]}" --data two.csv
refused "time_column (--time-column): expected no in_file_order" "${pretrain[@]}" --data german.csv "${columns[@]}" --in-file-order
awk 'BEGIN { for (u = 1; u <= 9; ++u) print u, 1, 2, 3 }' > rows.txt
refused "user_column (--user-column): expected a table whose header names the columns" "${pretrain[@]}" --data rows.txt --format user_items \
  --user-column kunde

# Warm start. The new data has three of the old items less and two new ones.
awk -F '\t' 'BEGIN { print "user,item,timestamp" } { item = $2; if (item ~ /^i[123]$/) next; if ($1 ~ /7$/ && $3 > 6) item = "new" $3; printf "%s,%s,%d\n", $1, item, $3 }' events > later.csv
run 0 "$peterrec" pretrain --channels 8 --dilations "1,2" --data numbers.csv --epochs 3 --learning-rate 0.01 --out base.safetensors
best() { sed -nE 's/.*best (held-out loss [0-9.]+).*/\1/p' out; }
before=$(best)
cp base.safetensors kept
warm=("$peterrec" pretrain --from base.safetensors)
once=("${warm[@]}" --epochs 1)
# A step of 1e-30 changes no weight: the network is that of the base.
run 0 "${once[@]}" --data numbers.csv --learning-rate 1e-30 --out same.safetensors
says "base.safetensors: 20 items are known, 0 of them not in the data; 0 are new"
[[ "$(best)" == "$before" ]] || fail "expected the loss of the base, $before, got $(best)"
run 0 "${once[@]}" --data later.csv --out later.safetensors
says "base.safetensors: 20 items are known, 3 of them not in the data; 2 are new"
says "22 items, "
cmp base.safetensors kept || fail "a warm start changed its base"
run 0 "$peterrec" recommend --base later.safetensors --history i1,new7 --count 22
never_says "unknown"
grep -qaF '\"dropout\":0.2' later.safetensors || fail "expected the dropout of the base"
grep -qaF 'trained for 1 epoch, from base.safetensors' later.safetensors || fail "expected the note to name the base"
run 0 "${once[@]}" --data later.csv --dropout 0 --min-count 1000 --out rare.safetensors
says "20 items are known, 3 of them not in the data; 0 are new"
if grep -qaF '\"dropout\"' rare.safetensors; then fail "expected --dropout 0 to be stored"; fi
run 0 "${once[@]}" --data later.csv --search 0.001,0.01 --search-epochs 1 --out searched.safetensors
says "the search chose learning rate"

# Patches of the base stay with it; the trained network has other weights.
awk 'BEGIN { print "user,kind"; for (u = 1; u <= 40; ++u) printf "c%d,%s\n", u, u % 2 ? "a" : "b" }' > kinds.csv
task=(--data numbers.csv --profiles kinds.csv)
run 0 "$peterrec" finetune "${task[@]}" --base base.safetensors --task kind --epochs 1
run 0 "$peterrec" evaluate "${task[@]}" --base base.safetensors --patch kind.patch.safetensors
refused "kind.patch.safetensors: is a patch for another base" "$peterrec" evaluate "${task[@]}" --base later.safetensors --patch kind.patch.safetensors

# Contradictions and unusable files are refused before training.
never=("${once[@]}" --data later.csv --out never.safetensors)
refused "--channels: expected 8, as in base.safetensors of --from, got 16" "${never[@]}" --channels 16
refused "--dilations: expected [1,2], as in base.safetensors of --from, got [1]" "${never[@]}" --dilations 1
refused "--tied: expected true, as in" "${never[@]}" --no-tied
refused "--causal: expected true, as in" "${never[@]}" --non-causal
refused "--pretrain-loss: expected softmax, as in" "${never[@]}" --pretrain-loss sampled
[[ ! -e never.safetensors ]] || fail "expected no file"
run 0 "${never[@]}" --channels 8 --tied
rm never.safetensors
refused "--hold-out-last: expected a base of 'pretrain --hold-out-last', got base.safetensors" "${never[@]}" --hold-out-last
refused "--out: expected a distinct file, got base.safetensors, which is also given as --from" "${warm[@]}" --data later.csv
refused "missing.safetensors" "$peterrec" pretrain --data later.csv --from missing.safetensors
refused "later.csv: is not a safetensors file" "$peterrec" pretrain --data later.csv --from later.csv
refused "kind.patch.safetensors: expected a base model, got a patch" "$peterrec" pretrain --data later.csv --from kind.patch.safetensors
refused "finetune has no option --from" "$peterrec" finetune --from base.safetensors
head -c 2000 base.safetensors > cut.safetensors
refused "cut.safetensors: " "$peterrec" pretrain --data later.csv --from cut.safetensors

# A resumed run has the same base.
run 0 "${warm[@]}" --data later.csv --epochs 2 --resume state --out resumed.safetensors
run 0 "${warm[@]}" --data later.csv --epochs 3 --resume state --out resumed.safetensors
run 0 "${warm[@]}" --data later.csv --epochs 3 --out whole.safetensors
cmp resumed.safetensors whole.safetensors || fail "the resumed run wrote a different file"
run 0 "${pretrain[@]}" --data numbers.csv --seed 2 --out other.safetensors
refused "from: expected " "$peterrec" pretrain --from other.safetensors --data later.csv --epochs 4 --resume state

# Every kind of model that is trained, with tied tables and without.
for kind in cmnrec srmn gru4rec lstm4rec nextitnet; do
  for tied in --tied --no-tied; do
    sizes=(--kind $kind $tied --slots 2 --length 8 --hidden 8 --embedding 8 --word-size 4 --attention 4 --channels 8)
    data=(--min-length 2 --split 0.8,0.1,0.1)
    run 0 "$cmnrec" train --data numbers.csv "${sizes[@]}" "${data[@]}" --epochs 2 --learning-rate 0.01 --out model.safetensors
    before=$(best)
    run 0 "$cmnrec" train --from model.safetensors --data numbers.csv "${data[@]}" --epochs 1 --learning-rate 1e-30 --out same.safetensors
    [[ "$(best)" == "$before" ]] || fail "$kind $tied: expected the loss of the model, $before, got $(best)"
    run 0 "$cmnrec" train --from model.safetensors --data later.csv "${data[@]}" --epochs 1 --out more.safetensors
    says "model.safetensors: 20 items are known, 3 of them not in the data; 2 are new"
    run 0 "$cmnrec" recommend --model more.safetensors --history i1,new7
  done
done
run 0 "$cmnrec" evaluate --data later.csv --model more.safetensors
never_says "warning"
cold=("$cmnrec" train --data later.csv "${data[@]}" --epochs 1)
warm=("${cold[@]}" --from model.safetensors)
refused "--kind: expected nextitnet, as in model.safetensors of --from, got cmnrec" "${warm[@]}" --kind cmnrec
refused "--channels: expected 8, as in model.safetensors of --from, got 16" "${warm[@]}" --channels 16
refused "--length: expected 8, as in model.safetensors of --from, got 20" "${warm[@]}" --length 20
refused "--loss: expected full, as in model.safetensors of --from, got sampled" "${warm[@]}" --loss sampled
refused "--tied: expected false, as in model.safetensors of --from, got true" "${warm[@]}" --tied
run 0 "${warm[@]}" --no-tied --dropout 0.1 --out more.safetensors
grep -qaF '\"dropout\":0.1' more.safetensors || fail "expected the given dropout"
run 0 "${warm[@]}" --search 0.001,0.01 --search-epochs 1 --out more.safetensors
run 0 "$cmnrec" train --data numbers.csv --kind mostpop --length 8 "${data[@]}" --out counted.safetensors
refused "--from: expected a model that is trained, got mostpop in counted.safetensors" "${cold[@]}" --from counted.safetensors
refused "base.safetensors: expected a model written by cmnrec" "${cold[@]}" --from base.safetensors
refused "expected a base of peterrec pretrain, got a model of cmnrec" "$peterrec" pretrain --data later.csv --from model.safetensors

echo "passed"
