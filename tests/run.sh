#!/usr/bin/env bash
# Builds everything and runs the test suite: tests/run.sh [ctest arguments], for instance
# tests/run.sh -R golden
#   REFRAIN_PRESET   the preset of CMakePresets.json (release)
#   CI=true          makes compiler warnings errors
#   REFRAIN_GOLDENS, REFRAIN_DATA   folders for golden and data tests (../shared/goldens,
#                                   ../shared/data)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/install.sh

need_compiler
need_example_libraries
need_test_libraries
install_missing
check_cmake

preset=${REFRAIN_PRESET:-release}
folder=build/$preset
warnings_are_errors=OFF
if [[ "${CI:-}" == true ]]; then warnings_are_errors=ON; fi

echo "Building $folder"
configure "$folder" --preset "$preset" -DREFRAIN_WERROR=$warnings_are_errors
build "$folder"

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:halt_on_error=1:strict_string_checks=1:detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1}

echo "Running the tests of $folder"
report=$PWD/$folder/tests.xml
rm -f "$report"
status=0
# A run of the whole suite shows only tests that did not pass.
hide='^Internal ctest '
if (($# == 0)); then hide+='|^ *Start +[0-9]+: | Passed +[0-9.]+ sec$'; fi
ctest --test-dir "$folder" --output-on-failure --no-tests=error --output-junit "$report" -j "$(nproc)" "$@" |
  { grep -vE "$hide" || true; } || status=$?
if [[ ! -e "$report" ]]; then exit "$status"; fi

# count ATTRIBUTE: an attribute of the <testsuite> element.
count() { sed -nE "s/^[[:space:]]*$1=\"([0-9]+)\".*/\1/p" "$report" | head -n 1; }
tests=$(count tests) failed=$(count failures) skipped=$(count skipped)
if ((tests == 0)); then
  echo "No test ran." >&2
  status=1
fi

grep -oE 'SKIPPED: .*|REFRAIN_ISA=v[34]: this CPU cannot run it' "$report" | sort | uniq -c || true

# must_run WORD FOLDER REQUIRED: when FOLDER exists, no test with WORD in its name may be skipped,
# except tests that need a GPU; with REQUIRED 1 at least one must have run.
must_run() {
  if [[ ! -d "$2" ]]; then return; fi
  local names
  names=$(sed -nE 's/^[[:space:]]*<testcase name="([^"]*)".* status="([a-z]+)".*/\2 \1/p' "$report" | grep -vE '^[a-z]+ gpu[.]' |
    grep -iE "$1" || true)
  if grep '^notrun ' <<< "$names"; then
    echo "These tests were skipped although $2 exists." >&2
    status=1
  elif [[ -z "$names" ]] && (($3 == 1)); then
    echo "$2 exists, but no test with '$1' in its name ran." >&2
    status=1
  fi
}
must_run golden "${REFRAIN_GOLDENS:-../shared/goldens}" $(($# == 0))
must_run '\bdata: ' "${REFRAIN_DATA:-../shared/data}" 0

echo "$((tests - failed - skipped)) passed, $failed failed, $skipped skipped"
exit "$status"
