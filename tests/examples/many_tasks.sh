#!/usr/bin/env bash
# Fine-tuning of many tasks in one pass: tests/examples/many_tasks.sh PETERREC
# Every task ends with the file that it gets alone, whatever trains beside it.
set -euo pipefail

program=$(realpath "$1")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

awk 'BEGIN {
  for (u = 1; u <= 120; ++u) {
    printf "%d", u
    for (t = 0; t < 6; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 3)) % 30
    print ""
  }
}' > users.txt
# Six attributes; few users have "rare", all have the same "city".
awk 'BEGIN {
  print "user_id,odd,third,fifth,rare,noise,city"
  for (u = 1; u <= 120; ++u)
    printf "%d,%s,t%d,f%d,%s,n%d,Oslo\n", u, u % 2 ? "yes" : "no", u % 3, u % 5, u % 4 ? "" : "r" u % 8, u * u % 7
}' > labels.csv
run 0 "$program" pretrain --data users.txt --channels 16 --dilations 1,2 --length 8 --epochs 2 --out base.safetensors
tasks=odd,third,fifth,rare,noise
base=(--model base.safetensors --data users.txt --profiles labels.csv --length 8)
# With this patience the tasks end after different numbers of epochs.
training=(--epochs 30 --patience 2 --clip 0.5 --decay 0.01)

rate=(--learning-rate 0.02)

# finetune FOLDER ARGUMENTS...: fine-tunes the tasks; the files are in FOLDER.
finetune() {
  local folder=$1
  shift
  mkdir -p "$folder"
  run 0 "$program" finetune "${base[@]}" "${training[@]}" "${rate[@]}" --task "$tasks" --out "$folder/odd,$folder/third,$folder/fifth,$folder/rare,$folder/noise" "$@"
}
same_files() {
  for task in ${tasks//,/ }; do cmp "$1/$task" "$2/$task" || fail "task $task of $2 differs from $1"; done
}

for kind in "" "--insertion parallel" "--one-per-block" "--no-norm2 --no-own-tcl" "--warmup 1 --rate-schedule cosine --smoothing 0.1" "--slices 3"; do
  # shellcheck disable=SC2086
  finetune alone --tasks-at-once 1 $kind
  epochs=$(grep -o 'finished after [0-9]* epoch' out | sort -u | wc -l)
  ((epochs > 1)) || fail "expected tasks that end after different numbers of epochs"
  for at_once in 2 3 0; do
    # shellcheck disable=SC2086
    finetune together --tasks-at-once "$at_once" --threads $((1 + at_once)) $kind
    says "5 trainings in passes of "
    same_files alone together
  done
done

# The table has the figures that evaluate prints.
finetune together
for task in ${tasks//,/ }; do
  figure=$(awk -v task="$task" '$1 == task { for (i = 1; i < NF; ++i) if ($i == "accuracy") print $(i + 1) }' out)
  cp out table
  run 0 "$program" evaluate "${base[@]}" --patch "together/$task"
  grep -q "accuracy $figure" out || fail "expected the accuracy $figure of task $task"
  cp table out
done

# The search of each task comes first.
rate=()
finetune alone --tasks-at-once 1 --search 0.001,0.02
finetune together --search 0.001,0.02
same_files alone together

# All attributes with at least two values.
run 0 "$program" finetune "${base[@]}" --epochs 1 --task all
says "attribute city: fewer than two values, no task"
for task in ${tasks//,/ }; do [[ -s $task.patch.safetensors ]] || fail "expected a file of task $task"; done
[[ ! -e city.patch.safetensors ]] || fail "expected no file of an attribute with one value"
run 1 "$program" finetune "${base[@]}" --task all,odd
says "--task all: expected no other task"
run 1 "$program" finetune --model base.safetensors --data users.txt --task all
says "--task all: expected --profiles"

# One value against all others, for each value of an attribute with several ones.
awk 'BEGIN {
  print "user_id,likes,odd"
  for (u = 1; u <= 120; ++u)
    printf "%d,%s,%s\n", u, u % 3 ? (u % 2 ? "drama" : "drama|war") : "war", u % 2 ? "yes" : "no"
}' > likes.csv
run 0 "$program" finetune --model base.safetensors --data users.txt --profiles likes.csv --length 8 --epochs 1 --task all
for task in likes=drama likes=war odd; do [[ -s $task.patch.safetensors ]] || fail "expected a file of task $task"; done
run 0 "$program" evaluate --model base.safetensors --data users.txt --profiles likes.csv --patch likes=war.patch.safetensors
says "accuracy"
run 1 "$program" finetune --model base.safetensors --data users.txt --profiles likes.csv --length 8 --task likes=comedy
says '--task likes=comedy: profiles: expected a value of "likes", got "comedy"'
run 0 "$program" compare --model base.safetensors --data users.txt --profiles likes.csv --length 8 --epochs 1 --task all --methods fine-cls,peterrec-serial
says "Means over 3 profile tasks; in how many of them a method is better, equal and worse than FineCLS with the same share of the data:"

# compare in one pass and one after the other: the same tables, ranks and logs.
rm -f ranks.* figures.*
for at_once in 1 4 0; do
  run 0 "$program" compare "${base[@]}" "${training[@]}" --task odd,third,rare --methods peterrec-serial,fine-cls,peterrec-one --few-shot 0.5 --seeds 2 \
    --learning-rates 0.02,0.003 --show-users 0 --tasks-at-once "$at_once" --ranks "ranks.$at_once" --log "log.$at_once"
  ((at_once == 1)) || says "12 trainings in passes of "
  awk '/^Task |^Means over 3/ { tables = 1 } tables' out | sed -E 's/(% +[0-9,]+ +[0-9.]+%) +[-0-9.]+/\1 -/' > "tables.$at_once"
  # the epochs of the trainings end in another order, and seconds differ
  grep '"method"' "log.$at_once" | sed 's/,"seconds_per_epoch":[^,]*//' > "figures.$at_once"
  for kind in tables ranks figures; do
    if [[ $kind == figures ]]; then sort -o figures.$at_once figures.$at_once; fi
    cmp "$kind.1" "$kind.$at_once" || fail "$kind of compare with --tasks-at-once $at_once differ"
  done
done

# A task that fails does not stop the others, and the command fails.
rm -f ./*.patch.safetensors
run 1 "$program" finetune "${base[@]}" --epochs 2 --task odd,third --learning-rate 1e30
says "task odd: "
says "task third: "
[[ ! -e odd.patch.safetensors ]] || fail "expected no file of a task that diverged"

# "easy" has the same answer for nearly all users, so a rate that is far too large learns it.
awk 'BEGIN { print "user_id,easy,noise"; for (u = 1; u <= 120; ++u) printf "%d,%s,n%d\n", u, u == 1 ? "no" : "yes", u * u % 7 }' > uneven.csv
uneven=(finetune --model base.safetensors --data users.txt --profiles uneven.csv --length 8 --epochs 3 --learning-rate 5)
run 0 "$program" "${uneven[@]}" --task easy --out alone.easy
rm -f ./*.patch.safetensors
run 1 "$program" "${uneven[@]}" --task noise,easy
says "task noise: training has diverged"
cmp alone.easy easy.patch.safetensors || fail "the failure of a task has changed another one"
[[ ! -e noise.patch.safetensors ]] || fail "expected no file of a task that diverged"

# More tasks than the memory holds: an error before the training.
awk 'BEGIN {
  printf "user_id"
  for (t = 1; t <= 400; ++t) printf ",t%d", t
  print ""
  for (u = 1; u <= 120; ++u) {
    printf "%d", u
    for (t = 1; t <= 400; ++t) printf ",%s", (u + t) % 2 ? "a" : "b"
    print ""
  }
}' > wide.csv
wide=("$program" finetune --model base.safetensors --data users.txt --profiles wide.csv --length 8 --task all --epochs 1 --bottleneck 4096)
small=(bash -c 'ulimit -v 2500000; exec "$@"' _)
if "${small[@]}" "$program" --help > out 2>&1; then
  run 1 "${small[@]}" "${wide[@]}" --tasks-at-once 400
  says "400 trainings in passes of 400: "
  says "the available memory; see --tasks-at-once"
else
  echo "SKIPPED: the error of too many tasks: the program does not run with a limit of memory"
fi

# Attributes without a task are left out; the file of a task has a name of its own.
awk 'BEGIN {
  print "user_id,odd,first,base,a/b,a_b"
  for (u = 1; u <= 120; ++u)
    printf "%d,%s,%s,x%d,p%d,q%d\n", u, u % 2 ? "yes" : "no", u == 1 ? "one" : u == 2 ? "two" : "", u % 2, u % 3, u % 2
}' > odd.csv
rm -f ./*.patch.safetensors
run 0 "$program" finetune --model base.safetensors --data users.txt --profiles odd.csv --length 8 --epochs 1 --task all
says "attribute base: the name is reserved, no task"
says "--task first: expected examples in the"
for task in odd a%2Fb a_b; do [[ -s $task.patch.safetensors ]] || fail "expected a file of task $task"; done
[[ ! -e first.patch.safetensors && ! -e base.patch.safetensors ]] || fail "expected no file of an attribute that is no task"

# An interrupted pass continues, and ends with the files of an uninterrupted one.
resumed=("$program" finetune "${base[@]}" --task "$tasks" --tasks-at-once 2 --out r1,r2,r3,r4,r5 --resume state)
interrupted '"epoch":3' "${resumed[@]}" --epochs 1000000 --patience 1000000 --log log
says "the training state is in state.odd, and the same command resumes from it"
says "3 tasks were not trained: fifth, rare, noise"
run 0 "${resumed[@]}" --epochs 300 --patience 300
run 0 "$program" finetune "${base[@]}" --task "$tasks" --epochs 300 --patience 300 --out w1,w2,w3,w4,w5
for i in 1 2 3 4 5; do cmp "w$i" "r$i" || fail "the resumed pass has another file $i"; done
run 0 "${resumed[@]}" --epochs 300 --patience 300
for i in 1 2 3 4 5; do cmp "w$i" "r$i" || fail "a finished pass that is resumed has another file $i"; done

# An interrupted comparison prints the tasks that are complete.
interrupted '"epoch":3' "$program" compare "${base[@]}" --task odd,third,noise --methods peterrec-serial --tasks-at-once 2 --epochs 1000000 --patience 1000000 --log log
says "interrupted in PeterRec serial: incomplete results are in no table"

# An interruption keeps the parameters of every task that runs, and names what it lost.
rm -f odd.patch.safetensors
cp together/third third.patch.safetensors
cp together/third before
interrupted '"epoch":2' "$program" finetune "${base[@]}" --task odd,third,fifth --tasks-at-once 2 --epochs 1000000 --patience 1000000 --log log
says "odd: interrupted after"
says "third.patch.safetensors already exists and was not overwritten"
says "1 task was not trained: fifth"
[[ -s odd.patch.safetensors ]] || fail "the trained parameters were not written"
cmp third.patch.safetensors before || fail "an interrupted run has replaced its --out"
