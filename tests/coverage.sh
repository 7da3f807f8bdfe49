#!/usr/bin/env bash
# Line coverage of the CPU code by the suite:  tests/coverage.sh [Catch2 filter]
# Prints shares per folder and the least covered files; build/coverage/lines.html shows each line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/install.sh

need_compiler
need_example_libraries
need_test_libraries
need gcovr gcovr
install_missing
check_cmake

folder=build/coverage
configure "$folder" -DCMAKE_BUILD_TYPE=None -DREFRAIN_NATIVE=OFF -DREFRAIN_ISA_LEVELS= -DREFRAIN_CUDA=OFF -DREFRAIN_BENCH=OFF \
  "-DCMAKE_CXX_FLAGS=-O1 --coverage -fprofile-update=atomic -fno-inline-small-functions"
build "$folder" --target refrain_all_tests peterrec cmnrec serve layer_tour refrain_kill_while_saving
find "$folder" -name '*.gcda' -delete

status=0
# run_tests ARGS...: runs the executable of every test folder; a folder without a matching case is
# no error.
run_tests() {
  local program
  for program in "$folder"/tests/refrain_*_tests; do "$program" "$@" || status=$?; done
}
if (($# > 0)); then
  run_tests "$@"
else
  run_tests
  "$folder/examples/layer_tour" > /dev/null || status=$?
  for part in options tasks resume search compare; do
    bash "tests/examples/peterrec_$part.sh" "$PWD/$folder/examples/peterrec" || status=$?
  done
  bash tests/examples/cmnrec.sh "$PWD/$folder/examples/cmnrec" || status=$?
  bash tests/examples/intake.sh "$PWD/$folder/examples/peterrec" "$PWD/$folder/examples/cmnrec" || status=$?
  bash tests/examples/store.sh "$PWD/$folder/examples/peterrec" "$PWD/$folder/examples/cmnrec" || status=$?
  bash tests/examples/serve.sh "$PWD/$folder/examples/serve" "$PWD/$folder/examples/peterrec" "$PWD/$folder/examples/cmnrec" || status=$?
  bash tests/examples/serve_states.sh "$PWD/$folder/examples/serve" "$PWD/$folder/examples/peterrec" || status=$?
  bash tests/examples/streams.sh "$PWD/$folder/examples/serve" "$PWD/$folder/examples/peterrec" "$PWD/$folder/examples/cmnrec" || status=$?
fi

# Code compiled only for a GPU is not counted.
gcovr --root . --object-directory "$folder" --filter 'src/' --filter 'include/' --filter 'kernels/' --filter 'examples/' \
  --exclude '.*cuda.*' --exclude-directories ".*/CMakeFiles/[0-9].*" --exclude-throw-branches --json-summary "$folder/summary.json" \
  --html-details "$folder/lines.html" "$folder" > /dev/null
python3 - "$folder/summary.json" << 'PYTHON'
import collections
import json
import sys

files = json.load(open(sys.argv[1]))["files"]
folders = collections.defaultdict(lambda: [0, 0])
for file in files:
    parts = file["filename"].split("/")
    name = "/".join(parts[: 3 if parts[0] == "include" else 2 if parts[0] in ("kernels", "examples") else 1][: len(parts) - 1])
    for key in (name, "all"):
        folders[key][0] += file["line_covered"]
        folders[key][1] += file["line_total"]
print(f"{'folder':32} {'lines':>7} {'covered':>8}")
for name in sorted(folders, key=lambda key: (key == "all", key)):
    covered, total = folders[name]
    print(f"{name:32} {total:7} {100 * covered / total:7.1f}%")
print("\nleast covered files:")
for file in sorted((f for f in files if f["line_total"] > 0), key=lambda f: f["line_covered"] / f["line_total"])[:20]:
    missed = file["line_total"] - file["line_covered"]
    print(f"{file['filename']:48} {file['line_percent']:5.1f}%  {missed} lines missed")
PYTHON
exit "$status"
