#!/usr/bin/env bash
# The PeterRec example end to end: tests/examples/peterrec.sh PROGRAM
# It must not test on training data, replace valid files, or log figures of an interrupted run.
set -euo pipefail

program=$(realpath "$1")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# run STATUS ARGUMENTS...: runs the program, writes its output to the file out, and expects this
# exit code.
run() {
  local expected=$1 status=0
  shift
  "$program" "$@" --threads "${threads:-2}" > out 2>&1 || status=$?
  expect_status "$expected" "$status" "$@"
}

# interrupt WORD ARGUMENTS...: sends SIGTERM when the log contains WORD, and expects exit code 130.
# most_epochs: limits the training that is interrupted.
interrupt() {
  local word=$1 status=0 waited=0
  shift
  rm -f log
  "$program" "$@" --threads 2 --epochs "${most_epochs:-1000000}" --patience 1000000 --log log > out 2>&1 &
  local pid=$!
  until grep -qs "$word" log; do
    kill -0 "$pid" 2> /dev/null || fail "ended before the log contained $word: $*"
    ((++waited < 6000)) || fail "the log never contained $word: $*"
    sleep 0.02
  done
  kill -TERM "$pid"
  wait "$pid" || status=$?
  ((status == 130)) || fail "expected exit code 130 of an interrupted run, got $status: $*"
}

# 60 users with 6 items each, and one with 20 different items, of 30 items in total.
awk 'BEGIN {
  for (u = 1; u <= 60; ++u) {
    printf "%d", u
    for (t = 0; t < 6; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 3)) % 30
    print ""
  }
  printf "61"
  for (i = 1; i <= 20; ++i) printf " %d", i
  print ""
}' > users.txt
awk 'BEGIN { for (u = 1; u <= 40; ++u) print 100 + u, 1 + u % 30, 1 + (u + 1) % 30, 1 + (u + 2) % 30 }' > more.txt
awk 'BEGIN { for (u = 1; u <= 61; ++u) printf "%d::%s::%d::1::0\n", u, u % 2 ? "F" : "M", u % 3 ? 25 : 35 }' > users.dat

tiny=(--channels 8 --dilations "1,2")

# Typing errors: one line suggests the correct name.
run 1 pretrain --data users.txt --chanels 32
says "peterrec: unknown option --chanels (did you mean --channels?); peterrec pretrain --help lists the options"
run 1 pretrain --data users.txt --patch next.patch.safetensors
says "pretrain has no option --patch, an option of evaluate, recommend"
run 1 evaluate users.txt
says "unexpected argument 'users.txt'"
run 1 pretrian
says "unknown command 'pretrian' (did you mean pretrain?); expected pretrain, finetune, evaluate, recommend, compare, prepare"
run 1
says "expected a command: pretrain, finetune, evaluate, recommend, compare, prepare"
refuses_config() {
  printf '%b' "$1" > wrong.toml
  run 1 pretrain --data users.txt --config wrong.toml
  says "peterrec: --config: $2"
}
refuses_config '[pretrain]\nepochs = 1\nchanels = 32\n' "line 3: unknown name chanels in [pretrain] (did you mean --channels?)"
refuses_config '[pretran]\nchannels = 32\n' "line 1: unknown section [pretran] (did you mean pretrain?)"
refuses_config 'channels = 32\n' "line 1: expected sections such as [pretrain], got 'channels' outside a section"
refuses_config '[pretrain]\ndata = ["users.txt"\nepochs = 1\n' "line 3: "
refuses_config '[pretrain]\nepochs = 1999-12-31\n' "line 2: expected a number, a string, true, false, or a list of these"
refuses_config '[pretrain]\nhold-out-last = [true]\n' "line 2: hold-out-last: expected true or false, got a list"
printf '[pretrain]\nhold-out-last = "perhaps"\n' > wrong.toml
run 1 pretrain --data users.txt --config wrong.toml
says "peterrec: --hold-out-last: expected true or false, got 'perhaps'"
run 1 pretrain --data users.txt --config missing.toml
says "peterrec: --config: expected a readable file, got missing.toml"
run 1 pretrain --data users.txt --learning-rate 0
says "--learning-rate: expected a number above 0, got 0"
run 1 pretrain --data users.txt --learning-rate banana
says "--learning-rate: expected a number above 0, got 'banana'"
"$program" pretrain --data users.txt --channels > out 2>&1 && fail "expected an error"
says "peterrec: --channels: expected a value"
run 1 pretrain --data users.txt --epochs 1 --epochs 2
says "peterrec: --epochs: expected one value, got 2"
run 1 pretrain --data users.txt --tied --epochs 1 --epochs 2
says "peterrec: --epochs: expected one value, got 2"
for wrong in 1.5 1e3 many 0x10 010 ""; do
  run 1 pretrain --data users.txt --split-seed "$wrong"
  says "peterrec: --split-seed: expected a whole number >= 0, got '$wrong'"
  run 1 pretrain --data users.txt --min-count "$wrong"
  says "peterrec: --min-count: expected a whole number, got '$wrong'"
done
run 1 pretrain --data users.txt --channels 1.5
says "peterrec: --channels: expected a whole number, got '1.5'"
# A number that exceeds 64 bits is an error.
for seed in 18446744073709551616 100000000000000000000; do
  run 1 pretrain --data users.txt --seed $seed
  says "peterrec: --seed: expected a smaller whole number, got $seed"
done
run 1 pretrain --data users.txt --seed -1
says "peterrec: --seed: expected a whole number >= 0, got '-1'"
run 1 pretrain --data users.txt --min-count 9223372036854775808
says "peterrec: --min-count: expected a smaller whole number, got 9223372036854775808"
run 1 pretrain --data users.txt --split 0.5,0.5,0.5
says "pretrain has no option --split, an option of finetune, evaluate, compare"
printf '1,2,1700000001\n1,3,1700000002\n2,2,1700000003\n' > bare.csv
run 1 pretrain --data bare.csv
says "looks like no known format"
run 1 finetune --data users.txt --profiles users.dat --task gender --split 0.5,0.5
says "peterrec: --split: expected 3 values, got 2"
run 1 pretrain --data users.txt --length 100000
says "--length: expected at most 1000, got 100000: the longest sequence has 20 items"
run 1 finetune --data users.txt --profiles users.dat --task gender --base users.txt
says "users.txt: is not a safetensors file: it begins with text"
run 1 finetune --data users.txt --profiles users.dat --task gender --split 0.5,0.5,0.5
says "--split: expected three shares (training, validation, test) that sum to 1, got 0.5,0.5,0.5"

# Items are held out from all files. A sequence of three items is left with one, which is too short
# for training.
run 0 pretrain --data users.txt,more.txt "${tiny[@]}" --epochs 1 --out all.safetensors
says "96 sequences to train on, 5 held out"
says "finished after 1 epoch ("
run 0 pretrain --data users.txt,more.txt "${tiny[@]}" --epochs 1 --hold-out-last --out held.safetensors
sequences=$(sed -nE 's/.*items, ([0-9]+) sequences to train on, ([0-9]+) held out.*/\1 + \2/p' out)
((sequences == 61)) || fail "expected 61 sequences of two items or more, got $sequences"

# A command reads only its own section of a configuration file.
cat > sections.toml << 'END'
[pretrain]
data = ["users.txt"]
channels = 8
dilations = [1, 2]
epochs = 1

[finetune]
base = "elsewhere.safetensors"
data = ["users.txt", "more.txt"]
length = 3
split = [0.5, 0.1, 0.4]
out = ["elsewhere.patch.safetensors"]

[evaluate]
base = "all.safetensors"
data = ["more.txt"]
split = [0.2, 0.2, 0.6]
END
run 0 pretrain --config sections.toml
says "wrote base.safetensors"
says "users.txt: read as"
if grep -q "more.txt" out || [[ -e elsewhere.safetensors ]]; then fail "a section of another command was used"; fi
profiles=(--profiles users.dat --base base.safetensors)
run 0 finetune --config sections.toml "${profiles[@]}" --task gender --epochs 1 --out sections.patch.safetensors
run 0 evaluate --data users.txt "${profiles[@]}" --patch sections.patch.safetensors --split 0.5,0.1,0.4 --length 3

# Tied tables and dropout are stored in the base file, from which fine-tuning reads them.
based=(pretrain --data users.txt "${tiny[@]}" --epochs 2 --hold-out-last --l2 0.01)
run 0 "${based[@]}" --no-tied --dropout 0 --out untied.safetensors
if grep -qaE '"(tied|dropout)' untied.safetensors; then fail "expected no fields of options that are off"; fi
run 0 "${based[@]}" --dropout 0.25 --out tied.safetensors
(($(stat -c %s tied.safetensors) < $(stat -c %s untied.safetensors))) || fail "expected one item table in the base file"
grep -qaF '\"dropout\":0.25' tied.safetensors || fail "expected the base file to state its dropout"
grep -qaF '\"tied\":true' tied.safetensors || fail "expected the base file to state its tied tables"
run 0 finetune --data users.txt --profiles users.dat --base tied.safetensors --task gender --epochs 2 --out tied.patch.safetensors
run 0 evaluate --data users.txt --profiles users.dat --base tied.safetensors --patch tied.patch.safetensors
run 0 evaluate --data users.txt --base tied.safetensors
for dropout in 1 -0.1; do
  run 1 pretrain --data users.dat --dropout $dropout
  says "peterrec: --dropout: expected a number from 0 and below 1, got $dropout"
done
run 0 compare --data users.txt --profiles users.dat --task gender "${tiny[@]}" --tied --dropout 0.25 --pretrain-epochs 1 --epochs 1 \
  --pretrain-decay 0.01 --pretrain-warmup 0.5 --pretrain-rate-schedule cosine --pretrain-plateau-margin 0.1 \
  --decay 0.01 --warmup 0.5 --rate-schedule linear --plateau-margin 0.1 --smoothing 0.1 --slices 3 --pretrain-slices 2 --methods peterrec-serial,fine-all,fine-last1,fine-zero,mtl --show-users 0

# Each option of a training changes the base; zeros and the constant rate are the defaults. The log
# has the learning rate of a schedule.
trained=(pretrain --data users.txt "${tiny[@]}" --epochs 4 --learning-rate 0.001)
run 0 "${trained[@]}" --out plain.safetensors --log plain.log
run 0 "${trained[@]}" --decay 0 --warmup 0 --rate-schedule constant --plateau-margin 0 --out same.safetensors
cmp plain.safetensors same.safetensors || fail "expected the defaults to change nothing"
for option in "--decay 0.5" "--warmup 1.5" "--rate-schedule cosine" "--rate-schedule linear"; do
  # shellcheck disable=SC2086
  run 0 "${trained[@]}" $option --out other.safetensors
  ! cmp -s plain.safetensors other.safetensors || fail "expected $option to change the base"
done
if grep -q learning_rate plain.log; then fail "expected no learning rate in the log of a constant rate"; fi
run 0 "${trained[@]}" --warmup 2 --log rates
[[ "$(grep -oE '"learning_rate":[0-9.]+' rates | tr '\n' ' ')" == '"learning_rate":0.0005 "learning_rate":0.001 "learning_rate":0.001 "learning_rate":0.001 ' ]] ||
  fail "expected a warm-up of two epochs, got $(cat rates)"
for option in decay warmup plateau-margin; do
  run 1 pretrain --data users.dat --$option -1
  says "peterrec: --$option: expected a number >= 0, got -1"
done
run 1 pretrain --data users.dat --epochs 2 --warmup 2
says "peterrec: --warmup: expected less than --epochs 2, got 2"
run 1 compare --data users.dat --task gender --pretrain-epochs 3 --pretrain-warmup 3.5
says "peterrec: --pretrain-warmup: expected less than --pretrain-epochs 3, got 3.5"
run 1 pretrain --data users.dat --rate-schedule tsc
says "peterrec: --rate-schedule: expected one of constant, cosine, linear, got 'tsc'"
# Without an improvement that leaves the plateau all epochs are trained.
stuck=(pretrain --data users.txt "${tiny[@]}" --batch 4 --epochs 20 --patience 1 --learning-rate 0.1 --out stuck.safetensors --force)
run 0 "${stuck[@]}"
epochs=$(sed -nE 's/.*finished after ([0-9]+) epoch.*/\1/p' out)
((epochs < 20)) || fail "expected patience to end the run, got $epochs epochs"
run 0 "${stuck[@]}" --plateau-margin 0.99
says "finished after 20 epochs"

# A user id may occur once in a file; the program warns about ids that occur in several files.
printf '1 5 6\n2 5 6\n1 7 8\n' > twice.txt
run 1 pretrain --data twice.txt "${tiny[@]}" --epochs 1
says 'twice.txt:3: duplicate line of user "1"'
head -n 3 users.txt > again.txt
run 0 pretrain --data users.txt,again.txt "${tiny[@]}" --epochs 1 --out again.safetensors
says "again.txt: 3 of its 3 user ids also occur in users.txt"

# A time column with an unknown name is an error: without the times, events could be in reverse
# order.
awk 'BEGIN { print "user,item,updated_at"; for (u = 1; u <= 9; ++u) for (t = 9; t > 0; --t) printf "%d,%d,2024-01-0%d\n", u, 1 + (u + t) % 20, t }' > dates.csv
run 1 pretrain --data dates.csv "${tiny[@]}" --epochs 1
says 'dates.csv:1: column "updated_at" looks like times and is not read'
run 0 pretrain --data dates.csv "${tiny[@]}" --epochs 1 --in-file-order --out dates.safetensors

# Output paths are checked before any input is read.
mkdir taken
late=(--data twice.txt --profiles users.dat)
run 1 pretrain "${late[@]}" --out missing/base.safetensors
says "--out: expected a file in an existing folder, got missing/base.safetensors: no folder $PWD/missing"
run 1 pretrain "${late[@]}" --resume missing/state
says "--resume: expected a file in an existing folder"
run 1 pretrain "${late[@]}" --out taken
says "taken: is not a regular file"
run 1 pretrain "${late[@]}" --out twice.txt
says "--out: expected a distinct file, got twice.txt, which is also given as --data"
run 1 pretrain "${late[@]}" --out one --resume ./one
says "--resume: expected a distinct file, got ./one, which is also given as --out"
cp all.safetensors before
run 1 finetune "${late[@]}" --base all.safetensors --task gender --out taken/../all.safetensors
says "which is also given as --model"
cmp before all.safetensors || fail "finetune has changed its base"
run 1 finetune "${late[@]}" --base all.safetensors --task gender,gender --out one,two
says "--task: expected each task once, got gender twice"
run 1 compare "${late[@]}" --task gender --base missing/base.safetensors
says "--model: expected a file in an existing folder"
rmdir taken

# A diverged base does not replace a file unless --force is given.
cp all.safetensors before
diverging=(pretrain --data users.txt "${tiny[@]}" --epochs 2 --learning-rate 1e4 --clip 0 --out all.safetensors)
run 1 "${diverging[@]}"
says "training has diverged: expected a loss below 3.526, the level of chance, got "
says "all.safetensors was not overwritten. A smaller --learning-rate or --clip 5 may help; --force writes"
cmp before all.safetensors || fail "a base that has diverged was written"
run 1 "${diverging[@]}" --resume diverged.state
says "may help in a new run without the state in diverged.state"
rm diverged.state
run 0 "${diverging[@]}" --force
says "wrote all.safetensors"
run 0 recommend --base all.safetensors --history 1,2
run 1 compare --data users.txt "${tiny[@]}" --task next --pretrain-epochs 1 --pretrain-learning-rate 1e4 --pretrain-clip 0 \
  --epochs 1 --methods fine-cls --base compared.safetensors
says "compared.safetensors was not written."
cp before all.safetensors
run 1 finetune --data users.txt --profiles users.dat --base all.safetensors --task gender --epochs 2 --learning-rate 1e4 --clip 0
says "gender.patch.safetensors was not written."
run 1 finetune --data users.txt --base held.safetensors --task next --item-loss bpr --epochs 2 --learning-rate 1e4 --clip 0
says "training has diverged: expected a loss below 0.6931"

# The next-item task rejects a base that was trained on its test items.
for command in "finetune --task next" "evaluate" "compare --task next"; do
  # shellcheck disable=SC2086
  run 1 $command --base all.safetensors --data users.txt
  says "expected a base of 'pretrain --hold-out-last', got all.safetensors"
done

# For user 61, 10 items are neither seen nor the test target.
run 0 finetune --base held.safetensors --data users.txt --task next --epochs 1
says "sampled, 10 negatives of 30 items"
says "99 negatives were requested"
[[ $(sed -nE 's/^(test, [a-z]+): HR@5 .*\(([a-z]+), .*/\1 \2/p' out | paste -sd,) == "test, full full,test, sampled sampled" ]] ||
  fail "expected one line per protocol, the full one first"
run 0 evaluate --base held.safetensors --data users.txt --patch next.patch.safetensors --sampled 10
says "sampled, 10 negatives of 30 items"
if grep -q "requested" out; then fail "expected no note, because ten negatives are available"; fi

# The base's own head is evaluated together with the patch, with the same figures as without a
# patch.
run 0 evaluate --base held.safetensors --data users.txt --sampled 10 --log alone
run 0 evaluate --base held.safetensors --data users.txt --patch next.patch.safetensors --sampled 10 --log beside
(($(wc -l < alone) == 4 && $(wc -l < beside) == 5)) || fail "expected base, popularity, n-gram and co-occurrence, and the patch before them"
diff alone <(tail -n 4 beside) || fail "the base's figures depend on the patch beside it"
grep -q '"hr5_full":.*"mrr5_sampled":.*"method":"next.patch.safetensors"' beside || fail "expected the patch's figures in the log"
grep -q '"method":"base"' alone || fail "expected the base's figures in the log under the method base"
never_says "warning"
tac users.txt > reversed.txt
run 0 evaluate --base held.safetensors --data reversed.txt --patch next.patch.safetensors
never_says "warning"
sed 's/ [0-9]*$//' users.txt > shorter.txt
run 0 evaluate --base held.safetensors --data shorter.txt --patch next.patch.safetensors
says "warning: next.patch.safetensors was trained on other sequences"
run 1 evaluate --base held.safetensors --data users.txt --patch next.patch.safetensors,next.patch.safetensors
says "--patch: expected each file once, got next.patch.safetensors twice"

run 1 evaluate --base all.safetensors --data users.txt
says "evaluate without --patch: expected a base of 'pretrain --hold-out-last', got all.safetensors"

# Histories from standard input: each line may name a task, and an unknown task does not end the
# program.
asked=(recommend --base held.safetensors --patch next.patch.safetensors)
printf '1,2,3\nnext: 4, 5, nothing\nage: 1,2\nbase: 6\n\n' > histories
"$program" "${asked[@]}" --threads 2 < histories > out 2>&1 || fail "expected an answer to each line"
says "History (3 items), task next"
says "  skipped, unknown to the model: nothing"
says "--task: expected one of next, base, got age"
says "History (1 item), task base"
says "no known item in the history: ranked by frequency"
(($(grep -c "^History" out) == 4)) || fail "expected a heading for each line that was answered"
# The same answers as JSON lines: standard output has one object per line, also for errors, and
# nothing else.
"$program" "${asked[@]}" --threads 2 --count 2 --output jsonl < histories > out 2> errors || fail "expected an answer to each line"
(($(wc -l < out) == 5)) || fail "expected one object per line"
line() { sed -n "$1p" out; }
item='\{"id":"[0-9]+","score":-?[0-9.e-]+\}'
line 1 | grep -qE "^\{\"task\":\"next\",\"best\":\[$item,$item\]\}$" || fail "expected an object of two items"
if line 1 | grep -qE '"id":"[123]"'; then fail "a seen item is recommended"; fi
line 2 | grep -qE "^\{\"task\":\"next\",\"unknown\":\[\"nothing\"\],\"best\":\[$item,$item\]\}$" || fail "expected the unknown item"
[[ $(line 3) == '{"task":"age","error":"--task: expected one of next, base, got age"}' ]] || fail "expected the error"
line 4 | grep -q '^{"task":"base","best":' || fail "expected an answer from the base's own head"
line 5 | grep -q '^{"task":"next","fallback":"frequency","best":' || fail "expected the most frequent items"
# As CSV: one header line, one line per item, and all other output on standard error.
"$program" "${asked[@]}" --threads 2 --count 2 --output csv < histories > out 2> errors || fail "expected an answer to each line"
[[ $(head -n 1 out) == "answer,user,task,place,id,title,score,probability" ]] || fail "expected a heading of columns"
(($(wc -l < out) == 9)) || fail "expected one line per item"
grep -qE '^2,,next,1,[0-9]+,,[-0-9.e]+,$' out || fail "expected the best item of the second answer"
says "expected one of next, base, got age" errors
run 1 "${asked[@]}" --history 1 --output xml
says "--output: expected one of text, jsonl, csv, got 'xml'"
# All commands accept --model and the older --base for the base, and two names for its own head.
run 0 recommend --base held.safetensors --history 1,2,3
says "History (3 items), task next"
cp out by_next
for other in "--model held.safetensors" "--model held.safetensors --task base" "--base held.safetensors --task next"; do
  # shellcheck disable=SC2086
  run 0 recommend $other --history 1,2,3
  cmp -s by_next out || fail "recommend $other differs from the base's own head"
done
run 1 "${asked[@]}" --history 1,2 --task base,age
if grep -q "^History" out; then fail "expected no heading for a refused task"; fi
# A list is split at commas, or at spaces if it has no comma.
run 0 "${asked[@]}" --history 4,5,6
cp out by_commas
for history in "4 5 6" " 4, 5 ,6 " $'4\t5  6'; do
  run 0 "${asked[@]}" --history "$history"
  cmp -s by_commas out || fail "the history '$history' is not 4,5,6"
done
run 0 "${asked[@]}" --history "4 5,6"
says "  skipped, unknown to the model: 4 5"
run 1 "${asked[@]}" --history 4 --log unused
says "recommend has no option --log, an option of pretrain, finetune, evaluate, compare"
run 1 "${asked[@]}" --task base --length 100000 --history 4
says "--length: expected at most 1000, got 100000"
run 0 recommend --help
says "base: the base's own head"
cp next.patch.safetensors other.patch.safetensors
run 1 recommend --base held.safetensors --patch next.patch.safetensors,other.patch.safetensors --history 1
says "--patch: expected one file per task, got next.patch.safetensors and other.patch.safetensors for task next"
run 1 recommend --base held.safetensors --data users.txt --user 99
says "--user: expected a user of --data, got 99"
run 1 recommend --base held.safetensors --user 99
says "--user: expected the users' behaviour in --data, got none"

# A patch file stores the split of its training data.
gender=(--base all.safetensors --data users.txt --profiles users.dat)
run 0 finetune "${gender[@]}" --task gender --epochs 2 --split 0.5,0.1,0.4 --split-seed 7 --length 10
figures=$(grep -o 'accuracy .*' out)
run 0 evaluate "${gender[@]}" --patch gender.patch.safetensors --ranks classes
says "$figures"
# The accuracy is the share of users whose class has rank 1 without ties.
accuracy=$(sed -nE 's/^accuracy ([0-9.]+) .*/\1/p' out | head -n 1)
right=$(grep gender.patch classes | awk '/"rank":1,"ties":0}/ { ++right } END { printf "%.4f", right / NR }')
[[ "$accuracy" == "$right" ]] || fail "expected the accuracy $accuracy by the ranks, got $right"
(($(grep -c '"method":"naive Bayes"' classes) == $(grep -c '"method":"gender.patch' classes))) || fail "expected the ranks by naive Bayes"
run 0 evaluate "${gender[@]}" --patch gender.patch.safetensors --split 0.5,0.1,0.4 --split-seed 7 --length 10
says "$figures"
for other in "--split 0.7,0.1,0.2" "--split-seed 8" "--length 11"; do
  # shellcheck disable=SC2086
  run 1 evaluate "${gender[@]}" --patch gender.patch.safetensors $other  says ", with which gender.patch.safetensors was trained, got "
done
head -n 50 users.dat > fewer.dat
run 0 evaluate --base all.safetensors --data users.txt --profiles fewer.dat --patch gender.patch.safetensors
says "trained on data of 61 users, and this data has 50"
tac users.txt > reversed.txt
run 0 evaluate --base all.safetensors --data reversed.txt --profiles users.dat --patch gender.patch.safetensors
says "gender.patch.safetensors was trained with another test part: expected users with hash"
tac users.dat > reversed.dat
run 0 evaluate --base all.safetensors --data users.txt --profiles reversed.dat --patch gender.patch.safetensors
says "$figures"
if grep -q "warning" out; then fail "expected no warning for the same users"; fi

# User-defined labels: a table with a header, in which some users have no label.
awk 'BEGIN { print "churned,user_id,city"; for (u = 1; u <= 61; ++u) print (u % 4 ? (u % 2 ? "yes" : "no") : "") "," u ",Oslo" }' > labels.csv
labels=(--base all.safetensors --data users.txt --profiles labels.csv)
run 0 finetune "${labels[@]}" --task churned --epochs 2 --learning-rate 0.00001
says "churned: the last epoch was the best (*), so more --epochs may improve the result"
says "label frequency: accuracy"
says 'labels.csv: read as profiles: user "user_id", "churned", "city"'
run 0 evaluate "${labels[@]}" --patch churned.patch.safetensors
says "label frequency"
run 0 recommend --data users.txt --patch churned.patch.safetensors --base all.safetensors --user 7
says "yes"
run 0 recommend --data users.txt --patch churned.patch.safetensors --base all.safetensors --user 7 --output csv
probabilities=$(sed -nE 's/^1,7,churned,[12],(yes|no),,.*,([0-9.]+)$/\2/p' out)
awk '{ sum += $1 } END { exit !(NR == 2 && sum > 0.999 && sum < 1.001) }' <<< "$probabilities" || fail "expected the probabilities of two classes"
sed '1s,churned,base,' labels.csv > base.csv
for command in finetune compare; do
  run 1 $command --base all.safetensors --data users.txt --profiles base.csv --task base --epochs 1
  says "--task base: this name is reserved for the base's own head"
done
sed '1s,churned,left/stayed,' labels.csv > slash.csv
run 0 finetune --base all.safetensors --data users.txt --profiles slash.csv --task left/stayed --epochs 1
says "left_stayed.patch.safetensors"
run 0 evaluate --base all.safetensors --data users.txt --profiles slash.csv --patch left_stayed.patch.safetensors
says "left/stayed: label frequency"
run 1 finetune "${labels[@]}" --task city --epochs 1
says "--task city: expected at least two values among the users, got one"
run 1 finetune "${labels[@]}" --task age --epochs 1
says 'expected one of the attributes "churned", "city", got "age"'

# Label smoothing changes tasks of profiles only.
run 0 finetune "${gender[@]}" --task gender --epochs 2 --smoothing 0 --out smooth.patch.safetensors
cp smooth.patch.safetensors sharp.patch.safetensors
run 0 finetune "${gender[@]}" --task gender --epochs 2 --smoothing 0.2 --out smooth.patch.safetensors
! cmp -s smooth.patch.safetensors sharp.patch.safetensors || fail "expected --smoothing to change the patch"
run 1 finetune --data users.dat --base held.safetensors --task next --smoothing 0.2
says "peterrec: --smoothing: expected a --task of --profiles, got next"
run 1 finetune "${gender[@]}" --task gender --smoothing 1
says "peterrec: --smoothing: expected a number from 0 and below 1, got 1"

# An interrupted run does not replace an existing file, and can be resumed from its state file.
cp all.safetensors before
interrupt '"epoch":2' pretrain --data users.txt "${tiny[@]}" --out all.safetensors
says "all.safetensors already exists and was not overwritten"
cmp before all.safetensors || fail "an interrupted run has replaced its --out"
interrupt '"epoch":2' pretrain --data users.txt "${tiny[@]}" --out new.safetensors
says "the parameters so far are in new.safetensors"
[[ -e new.safetensors ]] || fail "the trained parameters were not written"
cp gender.patch.safetensors before
interrupt '"epoch":2' finetune "${gender[@]}" --task gender,age --tasks-at-once 1
says "gender.patch.safetensors already exists and was not overwritten"
says "task age was not trained"
cmp before gender.patch.safetensors || fail "an interrupted run has replaced its --out"
resumed=(finetune "${gender[@]}" --task gender --smoothing 0.1)
interrupt '"epoch":2' "${resumed[@]}" --resume state --out part.safetensors
says "the training state is in state, and the same command resumes from it"
[[ -e state && ! -e part.safetensors ]] || fail "expected a state file and no patch"
# refuses STATE SETTING COMMAND...: expects that the state file is rejected, because SETTING
# differs.
refuses() {
  local state=$1 setting=$2
  shift 2
  run 1 "$@" --resume "$state" --epochs 300 --out part.safetensors
  says "$state: keeps the state of another run: $setting"
}
refuses state "other data: its items, sequences or split" "${resumed[@]}" --split-seed 8
says "split_seed: expected 8, got 1"
refuses state "bottleneck: expected 3, got 0; give the same" "${resumed[@]}" --bottleneck 3
refuses state "insertion: expected parallel, got serial; give the same" "${resumed[@]}" --insertion parallel
refuses state "seed: expected 2, got 1; give the same" "${resumed[@]}" --seed 2
refuses state "decay: expected 0.5, got nothing; give the same" "${resumed[@]}" --decay 0.5
refuses state "smoothing: expected nothing, got 0.1; give the same" finetune "${gender[@]}" --task gender
refuses state "batch: expected 3, got 8; give the same" "${resumed[@]}" --batch 3
refuses state "another base" finetune --base again.safetensors --data users.txt --profiles users.dat --task gender
refuses state "other data: its items, sequences or split" finetune --base all.safetensors --data reversed.txt --profiles users.dat --task gender
refuses state "other data: its items, sequences or split" finetune "${gender[@]}" --task age
says "task: expected age, got gender"
head -n 60 users.txt | sed 's/ 17\b//' > no17.txt
interrupt '"epoch":2' pretrain --data users.txt "${tiny[@]}" --resume items.state --out part.safetensors
items=$(sed -nE 's/^([0-9]+) items, .*/\1/p' out)
refuses items.state "" pretrain --data no17.txt "${tiny[@]}"
says "items: expected $((items - 1)), got $items"
threads=3 run 0 "${resumed[@]}" --resume state --epochs 300 --patience 300 --out part.safetensors
threads=1 run 0 "${resumed[@]}" --epochs 300 --patience 300 --out whole.safetensors
cmp part.safetensors whole.safetensors || fail "the resumed run of finetune wrote a different file"
tied=("${tiny[@]}" --tied --dropout 0.2 --decay 0.01 --warmup 1.5)
interrupt '"epoch":2' pretrain --data users.txt "${tied[@]}" --resume tied.state --out part.safetensors
refuses tied.state "dropout: expected 0.3, got 0.2; give the same" pretrain --data users.txt "${tiny[@]}" --tied --dropout 0.3 --decay 0.01
threads=3 run 0 pretrain --data users.txt "${tied[@]}" --resume tied.state --epochs 300 --patience 300 --out part.safetensors
threads=1 run 0 pretrain --data users.txt "${tied[@]}" --epochs 300 --patience 300 --out whole.safetensors
cmp part.safetensors whole.safetensors || fail "the resumed run of pretrain with dropout wrote a different file"
# Slices: a state belongs to a number of slices, of which the last batch may leave some empty.
sliced=(pretrain --data users.txt "${tiny[@]}" --pretrain-loss sampled --dropout 0.2 --batch 8)
interrupt '"epoch":2' "${sliced[@]}" --slices 8 --resume sliced.state --out part.safetensors
run 1 "${sliced[@]}" --slices 4 --resume sliced.state --out part.safetensors
says "sliced.state: was saved by a run with 8 slices per batch, expected 4; give the same number"
threads=2 run 0 "${sliced[@]}" --slices 8 --resume sliced.state --epochs 300 --patience 300 --out part.safetensors
threads=1 run 0 "${sliced[@]}" --slices 8 --epochs 300 --patience 300 --out whole.safetensors
cmp part.safetensors whole.safetensors || fail "the resumed run of pretrain with slices wrote a different file"
interrupt '"epoch":2' pretrain --data users.txt "${tiny[@]}" --pretrain-loss sampled --resume base.state --out part.safetensors
sampled=(--data users.txt --pretrain-loss sampled)
head -n 59 users.txt > fewer.txt
sed 's/ / x/2g' fewer.txt > other_items.txt
refuses base.state "other data" pretrain "${sampled[@]}" "${tiny[@]}" --data other_items.txt
says "; items: expected 60, got 30; give the same"
refuses base.state "channels: expected 4, got 8; give the same" pretrain "${sampled[@]}" --channels 4 --dilations 1,2
refuses base.state "loss: expected softmax, got sampled; relu: expected true, got false; give" pretrain --data users.txt "${tiny[@]}"
refuses base.state "sampled_share: expected 0.5, got 0.2; give the same" pretrain "${sampled[@]}" "${tiny[@]}" --sampled-share 0.5
refuses base.state "length: expected 20, got 50; give the same" pretrain "${sampled[@]}" "${tiny[@]}" --length 20
refuses base.state "other data: its items, sequences or split" pretrain "${sampled[@]}" "${tiny[@]}" --data more.txt
threads=3 run 0 pretrain --data users.txt "${tiny[@]}" --pretrain-loss sampled --resume base.state --epochs 300 --patience 300 \
  --out part.safetensors
threads=1 run 0 pretrain --data users.txt "${tiny[@]}" --pretrain-loss sampled --epochs 300 --patience 300 --out whole.safetensors
cmp part.safetensors whole.safetensors || fail "the resumed run of pretrain wrote a different file"

# A search writes the parameters of a run with the chosen settings, prints and logs its rounds, and
# stores its figures. parameters FILE: prints the tensors.
parameters() { tail -c +$((9 + $(od -An -t u8 -N 8 "$1"))) "$1"; }
# chosen: sets rate and dropout from the output.
chosen() {
  rate=$(sed -nE 's/.*: the search chose learning rate ([0-9.e-]+).*/\1/p' out)
  dropout=$(sed -nE 's/.*: the search chose .*, dropout ([0-9.e-]+) among.*/\1/p' out)
}
searched=(pretrain --data users.txt "${tiny[@]}" --epochs 5 --batch 8 --warmup 1 --rate-schedule cosine)
run 0 "${searched[@]}" --search 0.0001,0.01,1e30 --search-dropout 0,0.4 --search-epochs 2 --out searched.safetensors --log rounds
says "pretrain: search, round 1: 2 epochs each"
says "pretrain: search, round 2: up to 4 epochs each"
says "diverged"
chosen
says "pretrain: the search chose learning rate 0.01, dropout $dropout among 6 candidates: best held-out loss "
(($(grep -c '"search":"diverged"' rounds) == 2 && $(grep -c '"search":"chosen"' rounds) == 1)) || fail "expected the rounds in the log"
(($(grep -c '"search":' rounds) == $(grep -cE '^ +(1e-04|0.0001|0.01|1e\+30) ' out) + 1)) || fail "expected each line of the rounds in the log"
run 0 "${searched[@]}" --learning-rate "$rate" --dropout "$dropout" --out by_hand.safetensors
cmp <(parameters searched.safetensors) <(parameters by_hand.safetensors) || fail "the search wrote other parameters than the chosen settings"
run 0 recommend --base searched.safetensors --history 1,2
run 0 pretrain --data users.txt "${tiny[@]}" --epochs 2 --hold-out-last --search --search-epochs 1 --out default.safetensors
says "among 4 candidates"
run 0 evaluate --base default.safetensors --data users.txt
says "default.safetensors: the search chose learning rate "
run 0 finetune "${gender[@]}" --task gender,age --epochs 3 --search 0.00001,0.01 --search-epochs 1 --out one.patch.safetensors,two.patch.safetensors
# rate_of TASK: prints the learning rate that the search chose.
rate_of() { sed -nE "s/^$1: the search chose learning rate ([0-9.e-]+) among 2 candidates: best cross-entropy .*/\\1/p" out; }
rates=("$(rate_of gender)" "$(rate_of age)")
for task in gender age; do
  patch=one.patch.safetensors rate=${rates[0]}
  if [[ $task == age ]]; then patch=two.patch.safetensors rate=${rates[1]}; fi
  run 0 finetune "${gender[@]}" --task $task --epochs 3 --learning-rate "$rate" --out by_hand.patch.safetensors
  cmp <(parameters $patch) <(parameters by_hand.patch.safetensors) || fail "the search wrote another patch than the chosen learning rate"
  run 0 evaluate "${gender[@]}" --patch $patch
  says "$patch: the search chose learning rate $rate among 2"
done
printf '[pretrain]\ndata = ["users.txt"]\nchannels = 8\ndilations = [1, 2]\nepochs = 1\nsearch = [0.001, 0.01]\nsearch-epochs = 1\n' > search.toml
run 0 pretrain --config search.toml --out configured.safetensors
says "among 2 candidates"
sed -i 's/^search = .*/search = true/' search.toml
run 0 pretrain --config search.toml --out configured.safetensors
says "among 4 candidates"
sed -i 's/^search = .*/search = false/; /^search-epochs/d' search.toml
run 0 pretrain --config search.toml --out configured.safetensors
never_says "the search chose"

# The state of the training that follows has the result of the search; an interrupted search has no
# state and is repeated.
searched=(pretrain --data users.txt "${tiny[@]}" --search 0.001,0.01 --search-epochs 1)
most_epochs=300 interrupt '"epoch":2' "${searched[@]}" --resume search.state --out part.safetensors
refuses search.state "search: expected learning rate 0.001; learning rate 0.02; 1 epoch in the first round, got learning rate 0.001; learning rate 0.01; " \
  pretrain --data users.txt "${tiny[@]}" --search 0.001,0.02 --search-epochs 1
refuses search.state "search: expected nothing, got learning rate 0.001" pretrain --data users.txt "${tiny[@]}"
threads=3 run 0 "${searched[@]}" --resume search.state --epochs 300 --patience 1000000 --out part.safetensors
says "pretrain: the search chose learning rate 0.01 among 2 candidates: "
says " (stored in search.state)"
never_says "round 1"
threads=1 run 0 "${searched[@]}" --epochs 300 --patience 1000000 --out whole.safetensors
cmp part.safetensors whole.safetensors || fail "the resumed run of a search wrote a different file"
run 1 "${searched[@]}" --resume tied.state --out part.safetensors
says "tied.state: keeps the state of a run without --search"
rm -f searching part.safetensors
"$program" pretrain --data users.txt "${tiny[@]}" --search --epochs 1000000 --patience 1000000 --search-epochs 1000000 --resume searching \
  --out part.safetensors > out 2>&1 &
pid=$!
until grep -qs "learning rate 0.0003" out; do kill -0 $pid 2> /dev/null || fail "the search ended"; sleep 0.02; done
kill -TERM $pid
status=0
wait $pid || status=$?
((status == 130)) || fail "expected exit code 130 of an interrupted search, got $status"
says "pretrain: interrupted in the search: part.safetensors was not written, and the same command starts from the beginning"
[[ ! -e searching && ! -e part.safetensors ]] || fail "expected no files of an interrupted search"

# Searches that cannot choose are refused before they start.
refuses_search() {
  run 1 pretrain --data "${data:-users.dat}" "${@:2}"
  says "peterrec: $1"
}
refuses_search "--search: expected at least two candidates, got learning rate 0.001" --search 0.001
refuses_search "--search: expected different values, got 0.001 twice" --search 0.001,0.001
refuses_search "--search: expected a number above 0, got 0" --search 0.001,0
refuses_search "--search: expected a number above 0, got -1" --search 0.001,-1
refuses_search "--search: expected a number above 0, got 'fast'" --search 0.001,fast
refuses_search "--search: expected a number above 0, got 'true'" --search true,0.001
refuses_search "--search-dropout: expected a number from 0 and below 1, got 1" --search --search-dropout 0,1
refuses_search "--search-epochs: expected 1 to 1000000, got 0" --search --search-epochs 0
refuses_search "--search: expected no --learning-rate, which the search chooses" --search --learning-rate 0.1
refuses_search "--search-dropout: expected no --dropout, which the search chooses" --search --search-dropout 0,0.1 --dropout 0
refuses_search "--search-dropout: expected --search beside it" --search-dropout 0,0.1
refuses_search "--search-epochs: expected --search beside it" --search-epochs 2
head -n 1 users.txt > single.txt
data=single.txt refuses_search "--search: expected at least two training examples, got 1" --search
head -n 5 users.txt > few.txt
data=few.txt refuses_search "--search: expected users in the validation part, got none" --search
data=users.txt refuses_search "successive_halving: none of the 2 candidates has a finite figure" "${tiny[@]}" --search 1e30,1e31
run 1 finetune "${gender[@]}" --task gender --search 0.01
says "peterrec: --search: expected at least two candidates, got learning rate 0.01"
run 1 finetune "${gender[@]}" --task gender --search --split 0.8,0,0.2
says "peterrec: --task gender: expected examples in the validation part, got none"
run 1 finetune "${gender[@]}" --task gender --search --split 0.02,0.49,0.49
says "peterrec: --search: expected at least two training examples, got 1"
run 1 compare --data users.txt --task next --search
says "compare has no option --search, an option of pretrain, finetune"

# Every method on a task with classes and on one with items, with few and with all examples: each
# has a line in the log, and trained methods are better than chance.
run 0 compare --generate --task gender,items "${tiny[@]}" --epochs 2 --pretrain-epochs 1 --few-shot 0.5 --item-loss bpr --negatives rank \
  --learning-rate 0.003 --seeds 2 --show-users 2 --log compared
for method in "PeterRec serial" "PeterRec parallel" "PeterRec one per block" FineAll FineCLS FineLast1 FineLast2 FineZero MTL; do
  (($(grep -c "\"method\":\"$method\"" compared) == 4)) || fail "expected 4 lines of $method in the log"
done
# figure NAME TASK METHOD: prints a figure of the run on all examples.
figure() { grep "\"share\":1,.*\"task\":\"$2\",\"method\":\"$3\"" compared | sed -E "s/.*\"$1\":([0-9.e+-]+).*/\1/"; }
larger() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b) }'; }
larger "$(figure accuracy gender FineAll)" "$(figure accuracy gender "label frequency")" || fail "FineAll has not learned gender"
larger "$(figure "MRR@5 full" items "PeterRec serial")" "$(figure "MRR@5 full" items random)" || fail "PeterRec has not learned items"
larger "$(figure accuracy gender "naive Bayes")" "$(figure accuracy gender "label frequency")" || fail "naive Bayes has not learned gender"
larger "$(figure "MRR@5 full" items co-occurrence)" "$(figure "MRR@5 full" items random)" || fail "co-occurrence has not learned items"
larger "$(figure trained gender FineAll)" "$(figure trained gender "PeterRec serial")" || fail "a patch is as large as the network"
says "Means over 2 seeds of fine-tuning, with the standard deviation below."
(($(grep -c "^User [12], latest of" out) == 4)) || fail "expected two users of each task"

# compare can reuse a base that an earlier compare wrote.
run 0 compare "${gender[@]:2}" --base compared.safetensors --task gender "${tiny[@]}" --epochs 1 --pretrain-epochs 1 --methods fine-cls
run 0 compare "${gender[@]:2}" --base compared.safetensors --task gender --epochs 1 --methods fine-cls --learning-rates 0.003,0.001
if grep -q "pre-training" out; then fail "an existing base was pre-trained again"; fi

run 0 compare --data users.txt --base held.safetensors --task next --epochs 1 --methods fine-cls --show-users 0 --log nexts
(($(grep -c '"method"' nexts) == 6)) || fail "expected the method, the base's own head, popularity, n-gram, co-occurrence and chance"
says "HR@5 full     MRR@5 full   HR@5 sampled"
says "the base's own head"
never_says "Users of the test part"
run 1 compare --data users.txt --task next --methods fine-cls,fine
says "--methods: expected one of peterrec-serial, peterrec-parallel, peterrec-one, fine-all, fine-cls, fine-last1, fine-last2, fine-zero, mtl, got 'fine'"
for setting in "item-loss softmax, bpr, logistic" "negatives uniform, rank" "pretrain-loss softmax, sampled"; do
  run 1 compare --data users.txt --task next "--${setting%% *}" other
  says "--${setting%% *}: expected one of ${setting#* }, got 'other'"
done

# An interrupted method has no figures in the log.
interrupt 'gender, FineCLS' compare "${gender[@]}" --task gender --methods fine-cls
says "interrupted in task gender, FineCLS"
if grep -q '"method"' log; then fail "the log has figures of a method that was interrupted"; fi

echo "passed"
