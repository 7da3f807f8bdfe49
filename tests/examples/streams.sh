#!/usr/bin/env bash
# Programs whose standard streams, logs or outputs cannot be written. They must not abort, return 0
# when output is lost, lose a trained model, or overwrite an input file:
# tests/examples/streams.sh SERVE PETERREC CMNREC
set -euo pipefail

serve=$(realpath "$1")
peterrec=$(realpath "$2")
cmnrec=$(realpath "$3")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# run STATUS COMMAND...: expects this exit code; writes standard output and standard error to the
# files out and errors.
run() {
  local expected=$1 status=0
  shift
  "$@" > out 2> errors < /dev/null || status=$?
  expect_status "$expected" "$status" "$@"
}

awk 'BEGIN {
  for (u = 1; u <= 300; ++u) {
    printf "u%d", u
    for (t = 0; t < 8; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 3)) % 40
    print ""
  }
}' > users.txt
pretrain=("$peterrec" pretrain --data users.txt --channels 8 --dilations "1,2" --epochs 2 --threads 1)
train=("$cmnrec" train --data users.txt --hidden 8 --embedding 8 --word-size 8 --length 8 --slots 2 --epochs 2 --threads 1)
run 0 "${pretrain[@]}" --hold-out-last
run 0 "${train[@]}"
users=$(seq -s , -f "u%.0f" 1 300)
recommend=("$peterrec" recommend --base base.safetensors --data users.txt --threads 1)
evaluate=("$peterrec" evaluate --base base.safetensors --data users.txt --threads 1)
answer=("$serve" --base base.safetensors)
echo '{"history": [1, 2], "task": "base"}' > in

# A program works the same when its standard error is closed or on a full disk.
# silently STATUS COMMAND...: runs the command in both ways; the file out has the output of the
# second run.
silently() {
  local expected=$1 status=0
  shift
  "$@" > out 2> /dev/full < in || status=$?
  expect_status "$expected" $status "$@" "2> /dev/full"
  status=0
  "$@" > out 2>&- < in || status=$?
  expect_status "$expected" $status "$@" "2>&-"
}
for command in "${pretrain[*]} --hold-out-last --out silent.safetensors" "${evaluate[*]}" "${train[*]} --out silent.cmnrec" \
  "${recommend[*]} --history 1,2" "${answer[*]}"; do
  $command < in > expected 2> errors || fail "$command"
  silently 0 $command
  diff <(grep -v " s each" expected) <(grep -v " s each" out) || fail "$command prints different output"
done
cmp base.safetensors silent.safetensors || fail "a base trained without standard error differs"
for program in "$peterrec pretrain" "$cmnrec train" "$serve" "$peterrec" "$cmnrec"; do
  silently 1 $program --nonsense
  silently 1 $program --data missing --base missing
done
silently 1 "${pretrain[@]}" --out missing/file
silently 0 "${answer[@]}" --measure
says '"line":1,"task":"base"'

# Standard output is on a full disk: output is lost, and the exit code reports it.
for command in "${recommend[*]} --history 1,2" "${recommend[*]} --user $users" "${evaluate[*]}" \
  "${pretrain[*]} --out lost.safetensors" "${train[*]} --out lost.cmnrec" "$cmnrec recommend --history 1,2" \
  "$cmnrec evaluate --data users.txt" "$peterrec --help"; do
  status=0
  $command > /dev/full 2> errors || status=$?
  expect_status 1 $status "${command:0:80} > /dev/full"
  says "standard output cannot be written: No space left on device; some of the output is lost" errors
  if grep -q "unexpected" errors; then fail "expected no \"unexpected\" in the message for a full disk"; fi
done
[[ -e lost.safetensors && -e lost.cmnrec ]] || fail "a model was lost with the output"

# Standard output is closed: the log must not contain the program's output.
rm -f log
"${pretrain[@]}" --out closed.safetensors --log log >&- 2> errors || fail "pretrain >&-"
(($(wc -l < log) == 2)) || fail "expected 2 lines in the log, got $(wc -l < log)"
if grep -qv '^{"epoch":' log; then fail "the log has a line of the output: $(cat log)"; fi
cmp base.safetensors closed.safetensors > /dev/null && fail "expected a base that differs from that of --hold-out-last"
"${pretrain[@]}" --hold-out-last --out closed.safetensors <&- >&- 2>&- || fail "pretrain without streams"
cmp base.safetensors closed.safetensors || fail "a base that was trained without streams differs"

# The log is on a full disk: the program prints a warning and still writes the model.
run 0 "${pretrain[@]}" --hold-out-last --out logged.safetensors --log /dev/full
says "warning: --log: /dev/full: cannot be appended to: No space left on device" errors
(($(grep -c "warning: --log" errors) == 1)) || fail "expected one warning"
cmp base.safetensors logged.safetensors || fail "a base that was trained with a full log differs"
run 0 "${train[@]}" --out logged.cmnrec --log /dev/full
cmp cmnrec.safetensors logged.cmnrec || fail "a model that was trained with a full log differs"
run 0 "${evaluate[@]}" --log /dev/full
says "HR@5"

run 0 "${evaluate[@]}" --ranks /dev/full
says "warning: --ranks: /dev/full: cannot be written" errors
(($(grep -c "warning: --ranks" errors) == 1)) || fail "expected one warning"
run 0 "$cmnrec" compare --data users.txt --models mostpop --length 8 --threads 1 --results /dev/full
says "warning: --results: /dev/full: cannot be written" errors
says "most popular"

# The log must differ from all other files of the command, also by a link or another path.
ln -s users.txt symbolic
ln users.txt hard
printf '[pretrain]\nchannels = 8\n' > options.toml
printf '[train]\nhidden = 8\n' > hidden.toml
cp users.txt users.before
cp base.safetensors base.before
cp cmnrec.safetensors cmnrec.before
cp options.toml options.before
cp hidden.toml hidden.before
refuses() {
  local option=$1
  shift
  run 1 "$@"
  says "expected a distinct file" errors
  says ", which is also given as $option" errors
}
for path in users.txt ./users.txt symbolic hard "$PWD/users.txt"; do
  refuses --data "${pretrain[@]}" --out new --log $path
  refuses --data "${evaluate[@]}" --log $path
  refuses --data "${train[@]}" --out new --log $path
  refuses --data "$cmnrec" compare --data users.txt --models mostpop --results $path
  refuses --data "$cmnrec" compare --data users.txt --models mostpop --log $path
  refuses --data "$peterrec" compare --data users.txt --task next --log $path
  refuses --data "$peterrec" finetune --data users.txt --base base.safetensors --task next --log $path
done
refuses --model "${evaluate[@]}" --log base.safetensors
refuses --model "$peterrec" finetune --data users.txt --base base.safetensors --task next --log base.safetensors
refuses --model "$cmnrec" evaluate --data users.txt --log cmnrec.safetensors
refuses --config "$peterrec" pretrain --data users.txt --config options.toml --log options.toml
refuses --config "$cmnrec" train --data users.txt --config hidden.toml --out hidden.toml
refuses --out "${pretrain[@]}" --out new --log new
refuses --resume "${pretrain[@]}" --out new --resume state --log ./state
refuses --model "$serve" --base base.safetensors --states base.safetensors
for file in users base cmnrec options hidden; do
  cmp $file.before "$(ls $file.* | grep -v before)" || fail "$file was modified"
done
[[ ! -e new && ! -e state ]] || fail "a rejected command created a file"

# A read-only file is not replaced, although its folder is writable.
chmod a-w base.safetensors cmnrec.safetensors
run 1 "${pretrain[@]}"
says "base.safetensors: is read-only; choose another file for --out" errors
run 1 "${train[@]}"
says "cmnrec.safetensors: is read-only; choose another file for --out" errors
run 1 "${pretrain[@]}" --out new --log cmnrec.safetensors
says "cmnrec.safetensors: is read-only; choose another file for --log" errors
cmp base.before base.safetensors || fail "a read-only base was replaced"

# Under an MPI launcher several processes would write the same files.
export OMPI_COMM_WORLD_SIZE=2
for command in "${pretrain[*]}" "${train[*]}"; do
  run 1 $command --out launched
  says "expected one process, got several from a launcher (OMPI_COMM_WORLD_SIZE=2)" errors
  [[ ! -e launched ]] || fail "a process of several wrote a file"
done
run 0 "$peterrec" recommend --data users.txt --base base.safetensors --user u1
unset OMPI_COMM_WORLD_SIZE
echo passed
