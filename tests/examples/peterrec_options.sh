#!/usr/bin/env bash
# Command lines, data and training options of peterrec. Valid files are not replaced: tests/examples/peterrec_options.sh PROGRAM
set -euo pipefail

program=$(realpath "$1")
source "$(dirname "${BASH_SOURCE[0]}")/peterrec_support.sh"

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

echo "passed"
