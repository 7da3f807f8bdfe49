#!/usr/bin/env bash
# Learning rates that peterrec searches: tests/examples/peterrec_search.sh PROGRAM
set -euo pipefail

program=$(realpath "$1")
source "$(dirname "${BASH_SOURCE[0]}")/peterrec_support.sh"

make_bases

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
run 0 pretrain --data users.txt "${tiny[@]}" --epochs 1 --resume plain.state --out part.safetensors
run 1 "${searched[@]}" --resume plain.state --out part.safetensors
says "plain.state: keeps the state of a run without --search"
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

echo "passed"
