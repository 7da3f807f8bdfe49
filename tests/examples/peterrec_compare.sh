#!/usr/bin/env bash
# Comparisons of methods by peterrec: tests/examples/peterrec_compare.sh PROGRAM
set -euo pipefail

program=$(realpath "$1")
source "$(dirname "${BASH_SOURCE[0]}")/peterrec_support.sh"

make_bases

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
