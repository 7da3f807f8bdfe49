#!/usr/bin/env bash
# Compiles each public header, and each model of the examples, by itself: a header must include what it uses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

check() {
  printf '#include "%s"\n' "$1" | ${CXX:-c++} -std=c++20 -fsyntax-only -x c++ -Iinclude -Iexamples \
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Werror - ||
    { echo "$1 does not compile by itself" >&2; return 1; }
}
export -f check

headers=$(cd include && find refrain -name '*.hpp' | sort)
if [[ -d examples/models ]]; then headers+=$'\n'$(cd examples && find models -name '*.hpp' | sort); fi
if [[ -z "$headers" ]]; then
  echo "no headers found" >&2
  exit 1
fi
grep . <<< "$headers" | xargs -P "$(nproc)" -n 1 bash -c 'check "$0"'
echo "$(grep -c . <<< "$headers") headers compile by themselves"
