#!/usr/bin/env bash
# The CmnRec example end to end: tests/examples/cmnrec.sh PROGRAM
set -euo pipefail

program=$(realpath "$1")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# run STATUS ARGUMENTS...: runs the program, writes its output to the file out, and expects this
# exit code.
run() {
  local expected=$1 status=0
  shift
  "$program" "$@" --threads "${threads:-2}" > out 2>&1 < /dev/null || status=$?
  expect_status "$expected" "$status" "$@"
}

# 200 users with 12 items each, cyclic walks over 30 items; item 99 occurs once.
awk 'BEGIN {
  for (u = 1; u <= 200; ++u) {
    printf "u%d", u
    for (t = 0; t < 12; ++t) printf " %d", 1 + (u * 7 + t) % 30
    print u == 1 ? " 99" : ""
  }
}' > users.txt
awk 'BEGIN { print "movieId,title,genres"; for (i = 1; i <= 30; ++i) printf "%d,\"Film, the %dth\",x\n", i, i }' > movies.csv

tiny=(--data users.txt --min-item-count 2 --length 11 --hidden 16 --embedding 8 --word-size 8 --attention 4 --channels 8
  --split "0.8,0.1,0.1")

# Each model is trained, saved, loaded, and evaluated on held-out sequences.
for model in cmnrec srmn lstm4rec gru4rec nextitnet mostpop; do
  run 0 train --kind $model --slots 3 "${tiny[@]}" --epochs 2 --out $model.safetensors
  run 0 evaluate --data users.txt --model $model.safetensors
  says "30 items; 160 sequences to train on"
  says "20 to validate, 20 to test"
  never_says "warning"
done
run 0 train --kind cmnrec --schedule 4,11 --controller gru --loss sampled --loss-at last --order reference "${tiny[@]}" --epochs 1
says "list, 2 chunks of 11 steps: 4 11"
says "finished after 1 epoch ("

# Tied tables and dropout are stored in the file. With one table a file is smaller.
for model in cmnrec srmn lstm4rec gru4rec nextitnet; do
  run 0 train --kind $model --slots 3 "${tiny[@]}" --epochs 2 --dropout 0.25 --out tied.safetensors --log $model.log
  run 0 train --kind $model --slots 3 "${tiny[@]}" --epochs 1 --no-tied --out untied.safetensors
  (($(stat -c %s tied.safetensors) < $(stat -c %s untied.safetensors))) || fail "expected one item table in the file of $model"
  grep -qaF '\"dropout\":0.25' tied.safetensors || fail "expected the file of $model to state its dropout"
  grep -qaF '\"tied\":true' tied.safetensors || fail "expected the file of $model to state its tied tables"
  run 0 evaluate --data users.txt --model tied.safetensors
  never_says "warning"
  # The same parameters to start from, without masks.
  run 0 train --kind $model --slots 3 "${tiny[@]}" --epochs 2 --dropout 0 --out tied.safetensors --log $model.plain
  ! cmp -s <(grep -oE '"loss":[0-9.]+' $model.log) <(grep -oE '"loss":[0-9.]+' $model.plain) || fail "expected dropout to change $model"
done
run 0 train --kind gru4rec "${tiny[@]}" --epochs 2 --dropout 0 --no-tied --l2 0.1 --out plain.safetensors
if grep -qaE '"(tied|dropout)' plain.safetensors; then fail "expected no fields of options that are off"; fi
run 0 train --kind gru4rec "${tiny[@]}" --epochs 2 --l2 0.1 --out tied.safetensors
for dropout in 1 -0.1 nan; do
  run 1 train --data movies.csv --dropout $dropout
  says "cmnrec: --dropout: expected a number from 0 and below 1, got $dropout"
done

# A command reads only its own section of a configuration file.
cat > sections.toml << 'END'
[train]
data = ["users.txt"]
kind = "mostpop"
length = 11
split = [0.8, 0.1, 0.1]

[evaluate]
model = "elsewhere.safetensors"

[compare]
data = ["users.txt"]
length = 7
min-item-count = 5
END
rm cmnrec.safetensors
run 0 train --config sections.toml
says "31 items; 160 sequences to train on"
[[ -e cmnrec.safetensors && ! -e elsewhere.safetensors ]] || fail "a section of another command was used"
run 0 train --kind cmnrec --slots 3 "${tiny[@]}" --epochs 2

# A user that occurs in two files is one user; the items of the second file come later.
cut -d ' ' -f 1-7 users.txt > earlier.txt
cut -d ' ' -f 1,8- users.txt > later.txt
run 0 train --kind mostpop --data earlier.txt,later.txt --min-item-count 2 --length 11 --split "0.8,0.1,0.1" --out mostpop.safetensors
says "later.txt: 200 of its 200 users also occur in an earlier file"
says "30 items; 160 sequences to train on (12.0 items each, T = 11)"

# A log without timestamps is read in the order of its lines only on request.
awk 'BEGIN { print "user,item,rating"; for (u = 1; u <= 60; ++u) for (t = 0; t < 12; ++t) printf "%d,%d,5\n", u, 1 + (u + t) % 30 }' > ratings.csv
run 1 train --kind mostpop --data ratings.csv --length 11
says 'ratings.csv:1: the table has ratings (column "rating") and no times'
run 0 train --kind mostpop --data ratings.csv --length 11 --in-file-order --out ordered.safetensors

# --shift shifts the training sequences.
losses() { grep -oE '"loss":[0-9.]+' "$1"; }
for shift in 0 3; do run 0 train --kind cmnrec --slots 3 "${tiny[@]}" --epochs 2 --shift $shift --log shift$shift; done
run 0 train --kind cmnrec --slots 3 "${tiny[@]}" --epochs 2 --log unshifted
[[ "$(losses shift0)" == "$(losses unshifted)" ]] || fail "expected --shift 0 to change nothing"
[[ "$(losses shift3)" != "$(losses unshifted)" ]] || fail "expected --shift 3 to change what is learned"
run 1 train --kind cmnrec --slots 3 "${tiny[@]}" --shift 11
says "--shift: expected less than --length 11, got 11"

# Leave-last-out holds out one item of each history. Early stopping uses the loss on this item,
# without the walk before it.
awk '{ $(NF - 1) = 31 + NR % 30; $NF = 61; print }' users.txt > late.txt
run 0 train --kind nextitnet --channels 16 --data late.txt --min-item-count 2 --leave-last-out --stop-on loss --length 11 --batch 16 --epochs 20 --patience 20 \
  --learning-rate 0.01 --log late --out late.safetensors --force
tail -n 1 late | grep -qE '"validation":([5-9]|[1-9][0-9])' || fail "expected a held-out loss above 5, got $(tail -n 1 late)"

# Leave-last-out trains on users with few items, unless --min-length excludes them.
for user in 1 2 3 4 5 6; do echo "s$user 1 2 3 $user"; done > short.txt
run 0 train --kind mostpop --data short.txt --leave-last-out --length 11 --out short.safetensors
says "6 sequences to train on (2.0 items each"
run 1 train --kind mostpop --data short.txt --leave-last-out --length 11 --min-length 5 --out short.safetensors
run 0 compare --data short.txt --leave-last-out --length 11 --models mostpop --ranks short.ranks
[[ "$(sed -nE 's/^\{"user":"(s[0-9])","example":([0-9]),.*"full, 6 items".*/\1 \2/p' short.ranks | tr '\n' ',')" == "s1 0,s2 1,s3 2,s4 3,s5 4,s6 5," ]] ||
  fail "expected a rank of each user, got $(cat short.ranks)"

# With other data than in training the test part may contain training sequences.
head -n 150 users.txt > fewer.txt
run 0 evaluate --data fewer.txt --model cmnrec.safetensors
says "warning: cmnrec.safetensors was trained on other data"

# The model learns the walk: its next item has the highest rank, and items of the history are not
# recommended.
run 0 train --kind cmnrec --slots 3 "${tiny[@]}" --epochs 40 --learning-rate 0.01 --out good.safetensors
run 0 recommend --model good.safetensors --titles movies.csv --history 5,6,7,8,9,10,11,12,13,14,15
says "1. 16       Film, the 16th"
never_says "Film, the 15th"
run 0 recommend --model good.safetensors --data users.txt --user u3 --count 2
says "User u3 (12 items)"
run 0 recommend --model good.safetensors --history none,5 --history
says "History (2 items), task next"
says "skipped, unknown to the model: none"
says "no known item in the history: ranked by frequency"

printf '5 6 7\n5,6,7\n' > histories
"$program" recommend --model good.safetensors < histories > out 2>&1 || fail "expected an answer to each line"
(($(grep -c "^History (3 items)" out) == 2)) || fail "expected a list to be split at commas or blanks"

# The same answers in machine-readable formats. standard_output FILE ARGUMENTS...: writes the
# standard output of recommend to FILE.
standard_output() { "$program" recommend --model good.safetensors "${@:2}" > "$1" 2> out || fail "expected answers: ${*:2}"; }
lists=(--titles movies.csv --history 5,6,7,8,9,10,11,12,13,14,15 --history none --count 2)
standard_output text "${lists[@]}"
standard_output lines "${lists[@]}" --output jsonl
standard_output table "${lists[@]}" --output csv
(($(wc -l < lines) == 2)) || fail "expected an object for each history, got $(cat lines)"
first='{"task":"next","best":[{"id":"16","title":"Film, the 16th","score":'
[[ "$(head -n 1 lines)" == "$first"* ]] || fail "expected $first, got $(head -n 1 lines)"
[[ "$(tail -n 1 lines)" == '{"task":"next","unknown":["none"],"source":"popular","best":['* ]] || fail "expected a fallback, got $(cat lines)"
[[ "$(head -n 1 table)" == "answer,user,task,place,id,title,score,probability" ]] || fail "expected a header, got $(head -n 1 table)"
[[ "$(sed -n 2p table)" == '1,,next,1,16,"Film, the 16th",'*, ]] || fail "expected a quoted title, got $(sed -n 2p table)"
(($(wc -l < table) == 5)) || fail "expected one line per item, got $(cat table)"
says "answer 2: skipped, unknown to the model: none"
diff <(grep -oE '"id":"[0-9]+"' lines | tr -dc '0-9\n') <(tail -n +2 table | cut -d , -f 5) || fail "the formats list different items"
diff <(sed -nE 's/^ +[0-9]+\. ([0-9]+) .*/\1/p' text) <(tail -n +2 table | cut -d , -f 5) || fail "the text lists different items"
standard_output users --data users.txt --user u3,u4 --count 1 --output jsonl
[[ "$(cut -c 1-26 users)" == $'{"user":"u3","task":"next"\n{"user":"u4","task":"next"' ]] || fail "expected both users, got $(cat users)"
run 1 recommend --model good.safetensors --history 5 --output xml
says "--output: expected one of text, jsonl, csv, got 'xml'"

# Options accept their old names.
run 0 train --model mostpop "${tiny[@]}" --out popular.safetensors
run 0 evaluate --data users.txt --checkpoint popular.safetensors
says "most popular: 20 sequences"
says "n-gram: 20 sequences"
cat > old.toml << 'END'
[train]
data = ["users.txt"]
model = "mostpop"
length = 11
out = "old.safetensors"
[recommend]
checkpoint = "old.safetensors"
history = ["1 2"]
END
run 0 train --config old.toml
run 0 recommend --config old.toml
says "History (2 items), task next"
printf '[train]\nmodel = "mostpop"\nkind = "srmn"\n' > twice.toml
run 1 train --config twice.toml
says "--config: line 2: model: expected each option once in [train], got both kind and model"

run 1 recommend --model good.safetensors --history 5 --log unused
says "recommend has no option --log"

# A diverged model does not replace a file unless --force is given.
cp good.safetensors before
for watched in loss ndcg; do
  run 1 train --kind lstm4rec "${tiny[@]}" --epochs 2 --learning-rate 1e4 --clip 0 --stop-on $watched --out good.safetensors
  says "training has diverged: expected a loss below 3.526, the level of chance, got "
  says "good.safetensors was not overwritten."
  cmp before good.safetensors || fail "a model that has diverged was written"
done
run 0 train --kind lstm4rec "${tiny[@]}" --epochs 2 --learning-rate 1e4 --clip 0 --force --out diverged.safetensors
says "wrote diverged.safetensors"

# Completed runs are not repeated, except a run whose result line is incomplete.
compare=(compare "${tiny[@]}" --models "mostpop,lstm4rec,srmn,tsc" --slots "2,3" --epochs 2 --results runs --curves runs)
run 0 "${compare[@]}" --seeds 1,2
says "CmnRec TSC m=2"
says "means over 2 seeds"
(($(grep -cE ' full, 30 items$' out) == 9)) || fail "expected the protocol in each line of the table"
(($(wc -l < runs) == 9)) || fail "expected 9 finished runs, got $(wc -l < runs)"
cp out first
run 0 "${compare[@]}" --seeds 1,2
never_says ", seed 1"
diff <(grep -v epoch first) <(grep -v epoch out) > /dev/null || fail "the second table differs from the first"
head -c -20 runs > shortened && mv shortened runs
run 0 "${compare[@]}" --seeds 1,2
says "the line is incomplete"
says "CmnRec TSC m=3, seed 2  2 epochs"
never_says "SRMN, seed"
run 0 "${compare[@]}" --seeds 1,2
never_says "incomplete"
never_says ", seed 2"
(($(wc -l < runs) == 9)) || fail "expected 9 finished runs after one was incomplete, got $(wc -l < runs)"
(($(wc -l < runs-curves.jsonl) == 16)) || fail "expected 16 points of learning curves"
grep -q "</svg>" runs-curves.svg || fail "expected a complete figure"

# Options of the training belong to the key of a run.
once=(compare "${tiny[@]}" --models nextitnet --epochs 2 --results keyed)
run 0 "${once[@]}"
for option in "--decay 0.1" "--warmup 1" "--rate-schedule linear" "--plateau-margin 0.5"; do
  # shellcheck disable=SC2086
  run 0 "${once[@]}" $option
  says "NextItNet, seed 1"
done
run 0 "${once[@]}"
never_says "NextItNet, seed 1"

# The baselines that count: the last item determines the next one of a walk. --ranks has a line for
# each test sequence, method and protocol, from which the figures of the table follow; runs that are
# completed append none.
run 0 compare "${tiny[@]}" --models "mostpop,ngram,cooccurrence,nextitnet" --epochs 1 --seeds 1,2 --results counted --ranks ranks
says "co-occurrence"
grep -qE '^n-gram +[0-9.]+ +1\.0000 ' out || fail "expected the n-gram to know the walk"
(($(wc -l < ranks) == 5 * 2 * 20)) || fail "expected 20 test sequences of 5 runs by 2 protocols, got $(wc -l < ranks) lines"
grep -qE '^\{"user":"u[0-9]+","example":0,"task":"next","method":"n-gram","seed":1,"protocol":"full, 30 items","rank":1,"ties":0\}$' ranks ||
  fail "expected the rank of a user by the n-gram, got $(grep n-gram ranks | head -n 1)"
# hits METHOD: HR@5 of the protocol with all items, ties by their average.
hits() {
  grep -F "\"method\":\"$1\",\"seed\":1,\"protocol\":\"full, 30 items\"" ranks | tr -d '}' |
    awk -F '[:,]' '{ ties = $NF; rank = $(NF - 2); if (rank <= 5) hits += ((rank + ties < 5 ? rank + ties : 5) - rank + 1) / (ties + 1) }
      END { printf "%.4f", hits / NR }'
}
for method in "most popular" "n-gram" "co-occurrence"; do
  grep -qE "^$method +[0-9.]+ +$(hits "$method") " out || fail "expected HR@5 $(hits "$method") of $method"
done
cp ranks complete
run 0 compare "${tiny[@]}" --models "mostpop,ngram,cooccurrence,nextitnet" --epochs 1 --seeds 1,2 --results counted --ranks ranks
cmp ranks complete || fail "completed runs appended ranks"
run 0 evaluate --data users.txt --model good.safetensors --ranks evaluated
(($(wc -l < evaluated) == 4 * 2 * 20)) || fail "expected the ranks by the model and by three baselines"

# The same rows with other ids.
sed -E 's/ / i/g' users.txt > renamed.txt

# A resumed run continues from its state and ends bit-identical to an uninterrupted one, at any
# number of threads.
again=(train "${tiny[@]}" --keep 0.8 --tied --dropout 0.1 --loss sampled --negatives 10 --epochs 60 --patience 60
  --decay 0.01 --warmup 3.5 --rate-schedule cosine --plateau-margin 0.1)
threads=1 run 0 "${again[@]}" --out unbroken.safetensors
rm -f log
"$program" "${again[@]}" --threads 2 --out resumed.safetensors --resume state --log log > out 2>&1 &
pid=$!
until grep -qs '"epoch":2' log; do kill -0 $pid 2> /dev/null || break; sleep 0.01; done
kill -INT $pid 2> /dev/null || true
status=0
wait $pid || status=$?
((status == 130)) || fail "expected exit code 130 of an interrupted run, got $status"
[[ ! -e resumed.safetensors ]] || fail "expected no --out of an interrupted run with a state file"
# refuses SETTING OPTIONS...: expects that the run is not resumed, because SETTING differs.
cat > again.toml << 'END'
[train]
data = ["users.txt"]
min-item-count = 2
length = 11
hidden = 16
embedding = 8
word-size = 8
attention = 4
channels = 8
split = [0.8, 0.1, 0.1]
keep = 0.8
tied = true
dropout = 0.1
loss = "sampled"
negatives = 10
epochs = 60
patience = 60
decay = 0.01
warmup = 3.5
rate-schedule = "cosine"
plateau-margin = 0.1
out = "resumed.safetensors"
resume = "state"
END
refuses() {
  local setting=$1
  shift
  run 1 train --config again.toml "$@"
  says "state: keeps the state of another run: $setting"
}
refuses "loss_at: expected last, got all; give the same" --loss-at last
run 1 train --config again.toml --slices 4
says "state: was saved by a run with 1 slice per batch, expected 4; give the same number of slices"
refuses "order: expected reference, got paper; give the same" --order reference
refuses "slots: expected 3, got 4; words: expected 3, got 4; give the same" --slots 3
refuses "negatives: expected 11, got 10; give the same" --negatives 11
refuses "hidden: expected 8, got 16; give the same" --hidden 8
refuses "dropout: expected 0.2, got 0.1; give the same" --dropout 0.2
refuses "tied: expected nothing, got true; give the same" --no-tied
refuses "decay: expected 0.02, got 0.01; give the same" --decay 0.02
refuses "stop_on: expected ndcg, got loss; give the same" --stop-on ndcg
refuses "other data: its items, sequences or split" --data fewer.txt
refuses "other items; give the same" --data renamed.txt
threads=3 run 0 "${again[@]}" --out resumed.safetensors --resume state
cmp unbroken.safetensors resumed.safetensors || fail "the resumed run wrote a different file"

# Slices: the same file at any number of threads, another one with another number of slices.
sliced=(train "${tiny[@]}" --keep 0.8 --dropout 0.1 --loss sampled --negatives 10 --shift 3 --batch 16 --epochs 2)
threads=1 run 0 "${sliced[@]}" --slices 8 --out sliced.safetensors
threads=3 run 0 "${sliced[@]}" --slices 8 --out again.safetensors
cmp sliced.safetensors again.safetensors || fail "another number of threads trained another model in slices"
run 0 "${sliced[@]}" --out again.safetensors
! cmp -s sliced.safetensors again.safetensors || fail "expected --slices to act on the training"

# A search writes the parameters of a run with the chosen settings. parameters FILE: prints the
# tensors.
parameters() { tail -c +$((9 + $(od -An -t u8 -N 8 "$1"))) "$1"; }
# E and H differ in these models, so a tied table has a projection.
for model in cmnrec gru4rec nextitnet; do
  searched=(train --kind $model --slots 3 "${tiny[@]}" --epochs 3 --tied --stop-on ndcg)
  run 0 "${searched[@]}" --search 0.0001,0.01,0.03 --search-dropout 0,0.2 --search-epochs 1 --out searched.safetensors --log $model.rounds
  says "search, round 3: up to 3 epochs each"
  says "among 6 candidates: best NDCG@10"
  rate=$(sed -nE 's/.*: the search chose learning rate ([0-9.e-]+),.*/\1/p' out)
  dropout=$(sed -nE 's/.*: the search chose .*, dropout ([0-9.e-]+) among.*/\1/p' out)
  (($(grep -c '"search":' $model.rounds) == 6 + 3 + 2 + 1)) || fail "expected the rounds in the log, got $(cat $model.rounds)"
  run 0 evaluate --data users.txt --model searched.safetensors
  says "searched.safetensors: the search chose learning rate $rate, dropout $dropout among 6 candidates: best NDCG@10"
  run 0 "${searched[@]}" --learning-rate "$rate" --dropout "$dropout" --out by_hand.safetensors
  cmp <(parameters searched.safetensors) <(parameters by_hand.safetensors) || fail "the search wrote other parameters than the chosen settings"
done
refuses_search() {
  run 1 train "${tiny[@]}" "${@:2}"
  says "cmnrec: $1"
}
refuses_search "--search: expected at least two candidates, got learning rate 0.01" --search 0.01
refuses_search "--search: expected a number above 0, got 0" --search 0,0.01
refuses_search "--search-dropout: expected a number from 0 and below 1, got 1" --search --search-dropout 0,1
refuses_search "--dropout: expected a number from 0 and below 1, got 1" --tied --dropout 1
refuses_search "--search: expected no --learning-rate, which the search chooses" --search --learning-rate 0.1
refuses_search "--search: expected a --kind that is trained, got mostpop" --search --kind mostpop
tail -n 1 users.txt > single.txt
run 1 train --data single.txt --length 11 --leave-last-out --search
says "cmnrec: --search: expected at least two training examples, got 1"
run 1 train --data users.txt --min-item-count 2 --length 11 --split 0.9,0,0.1 --search
says "cmnrec: validation part: expected sequences of 5 to 12 items, got none"
run 1 compare "${tiny[@]}" --search
says "compare has no option --search, an option of train"

# The log has the same figures as the output.
run 0 evaluate --data users.txt --model good.safetensors --log figures
(($(wc -l < figures) == 8)) || fail "expected a line for the model and each baseline, with and without seen items"
says "most popular: 20 sequences"
(($(grep -cE '^  MRR@(5|10|20) .*\(full, 30 items\)$' out) == 12)) || fail "expected each line of figures to name its protocol"
(($(grep -cE '^  MRR@(5|10|20) .*\(full, 30 items, seen ones left out\)$' out) == 12)) || fail "expected each line of figures to name its protocol"
for value in $(sed -E 's/.*"HR@5":([0-9.e-]+).*/\1/' figures); do says "HR@5  $(LC_ALL=C printf %.4f "$value")"; done

# Generated sequences: the last item, one of 16 equally frequent ones, depends on earlier items.
run 0 compare --generate --models "mostpop,gru4rec" --hidden 16 --embedding 8 --epochs 4 --learning-rate 0.01
says "43 items; 2,400 sequences to train on (101.0 items each, T = 100), 150 to validate, 450 to test"
hits=$(sed -nE 's/^GRU4Rec +[0-9.]+ +([0-9.]+).*/\1/p' out | head -n 1)
awk -v hits="$hits" 'BEGIN { exit !(hits > 0.2) }' || fail "expected an HR@5 of GRU4Rec above 0.2, got $hits"

# Invalid options are rejected before training.
run 1 train "${tiny[@]}" --slots 12
says "--slots: expected 1 to 11 with --length 11, got 12"
run 1 train "${tiny[@]}" --schedule 4,9
says "--schedule 4,9:"
run 1 train "${tiny[@]}" --schedule sometimes
says "--schedule: expected one of pec, tsc, exc, every, every:G or steps like 5,10,20, got 'sometimes'"
run 1 train "${tiny[@]}" --epochs 2 --warmup 2
says "cmnrec: --warmup: expected less than --epochs 2, got 2"
run 1 compare "${tiny[@]}" --epochs 2 --warmup 2
says "cmnrec: --warmup: expected less than --epochs 2, got 2"
run 1 train "${tiny[@]}" --decay -0.1
says "cmnrec: --decay: expected a number >= 0, got -0.1"
run 1 train "${tiny[@]}" --min-length 13
says "--min-length: expected 2 to 12 items"
run 1 train "${tiny[@]}" --loss sampled --negatives 31
says "--negatives: expected 1 to 30"
run 1 train --data users.txt --length 100000
says "--length: expected at most 1000, got 100000: the longest sequence has 13 items"
run 1 train "${tiny[@]}" --dilations 1,2.5
says "cmnrec: --dilations: expected a whole number, got '2.5'"
run 1 compare "${tiny[@]}" --seeds 1,18446744073709551616
says "cmnrec: --seeds: expected a smaller whole number, got 18446744073709551616"
run 1 train --data movies.csv --out missing/model.safetensors
says "--out: expected a file in an existing folder, got missing/model.safetensors"
run 1 train --data movies.csv --out movies.csv
says "--out: expected a distinct file, got movies.csv, which is also given as --data"
for option in --results --curves --ranks; do
  run 1 compare --data movies.csv $option missing/file
  says "$option: expected a file in an existing folder"
done
run 1 evaluate --data users.txt --model good.safetensors --ranks users.txt
says "--ranks: expected a distinct file, got users.txt, which is also given as --data"
head -c 3000 good.safetensors > half.safetensors
run 1 evaluate --data users.txt --model half.safetensors
says "half.safetensors"
run 1 recommend --model good.safetensors --data users.txt --user nobody
says "--user: expected a user of --data, got nobody"
echo "passed"
