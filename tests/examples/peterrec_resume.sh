#!/usr/bin/env bash
# Interrupted and resumed trainings of peterrec: tests/examples/peterrec_resume.sh PROGRAM
set -euo pipefail

program=$(realpath "$1")
source "$(dirname "${BASH_SOURCE[0]}")/peterrec_support.sh"

make_bases
run 0 pretrain --data users.txt "${tiny[@]}" --epochs 1 --out other.safetensors
run 0 finetune "${gender[@]}" --task gender --epochs 1
tac users.txt > reversed.txt

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
says "1 task was not trained: age"
cmp before gender.patch.safetensors || fail "an interrupted run has replaced its --out"
resumed=(finetune "${gender[@]}" --task gender --smoothing 0.1)
interrupt '"epoch":2' "${resumed[@]}" --resume state --out part.safetensors
says "the training state is in state, and the same command resumes from it"
[[ -e state && ! -e part.safetensors ]] || fail "expected a state file and no patch"
refuses state "other data: its items, sequences or split" "${resumed[@]}" --split-seed 8
says "split_seed: expected 8, got 1"
refuses state "bottleneck: expected 3, got 0; give the same" "${resumed[@]}" --bottleneck 3
refuses state "insertion: expected parallel, got serial; give the same" "${resumed[@]}" --insertion parallel
refuses state "seed: expected 2, got 1; give the same" "${resumed[@]}" --seed 2
refuses state "decay: expected 0.5, got nothing; give the same" "${resumed[@]}" --decay 0.5
refuses state "smoothing: expected nothing, got 0.1; give the same" finetune "${gender[@]}" --task gender
refuses state "batch: expected 3, got 8; give the same" "${resumed[@]}" --batch 3
refuses state "another base" finetune --base other.safetensors --data users.txt --profiles users.dat --task gender
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

echo "passed"
