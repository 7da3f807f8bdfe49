# Sourced by the tests of the example programs: a folder of their own, and what they expect of a run.  The shell's options are theirs.

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() {
  echo "FAILED: $1"
  tail -n 40 out $(if [[ -e errors ]]; then echo errors; fi)
  exit 1
}

# expect_status STATUS GOT COMMAND...: the exit code of what was run.
expect_status() { (($1 == $2)) || fail "expected exit code $1, got $2: ${*:3}"; }

# says TEXT [FILE], never_says TEXT: what the last run has printed.
says() { grep -qF -- "$1" "${2:-out}" || fail "expected ${2:-the output} to have: $1"; }
never_says() { if grep -qF -- "$1" out; then fail "expected the output not to have: $1"; fi; }
