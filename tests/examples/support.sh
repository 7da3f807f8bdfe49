# Sourced by the tests of the example programs: changes to a temporary folder and defines the checks
# of a run. The caller sets the shell's options.

folder=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

fail() {
  echo "FAILED: $1"
  tail -n 40 out $(if [[ -e errors ]]; then echo errors; fi)
  exit 1
}

# expect_status STATUS GOT COMMAND...: compares the exit code of the command.
expect_status() { (($1 == $2)) || fail "expected exit code $1, got $2: ${*:3}"; }

# run STATUS COMMAND...: writes the output of the command to the file out and expects this exit code.
run() {
  local expected=$1 status=0
  shift
  "$@" > out 2>&1 || status=$?
  expect_status "$expected" "$status" "$@"
}

# says TEXT [FILE], never_says TEXT: searches the output of the last run.
says() { grep -qF -- "$1" "${2:-out}" || fail "expected ${2:-the output} to have: $1"; }
never_says() { if grep -qF -- "$1" out; then fail "expected the output not to have: $1"; fi; }

# interrupted WORD COMMAND...: runs the command, sends SIGTERM when its file `log` has WORD, and
# expects exit code 130. The output is in the file out.
interrupted() {
  local word=$1 status=0 waited=0 pid
  shift
  rm -f log
  "$@" > out 2>&1 &
  pid=$!
  until grep -qs "$word" log; do
    kill -0 "$pid" 2> /dev/null || fail "ended before the log contained $word: $*"
    ((++waited < 6000)) || fail "the log never contained $word: $*"
    sleep 0.02
  done
  kill -TERM "$pid"
  wait "$pid" || status=$?
  expect_status 130 "$status" "$@"
}
