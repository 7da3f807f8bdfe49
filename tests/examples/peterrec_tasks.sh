#!/usr/bin/env bash
# Tasks of peterrec: fine-tuning, evaluation, recommendations: tests/examples/peterrec_tasks.sh PROGRAM
set -euo pipefail

program=$(realpath "$1")
source "$(dirname "${BASH_SOURCE[0]}")/peterrec_support.sh"

make_bases

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
line 5 | grep -q '^{"task":"next","source":"popular","best":' || fail "expected the most frequent items"
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

echo "passed"
