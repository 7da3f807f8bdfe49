#!/usr/bin/env bash
# Kills a process that saves checkpoints at random moments and checks the files:
# tests/kill_while_saving.sh [KILLS] [SEED]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/install.sh

preset=${REFRAIN_PRESET:-release}
need_compiler
need_example_libraries
need_test_libraries
install_missing
check_cmake
configure "build/$preset" --preset "$preset"
build "build/$preset" --target refrain_kill_while_saving
# On the disk of the build, not in memory.
"build/$preset/tests/refrain_kill_while_saving" "build/$preset/killed" "${1:-1000}" "${2:-$RANDOM}"
