#!/usr/bin/env bash
# Compiles each public header, and each header of the models, separately: a header must include what
# it uses, without a warning from the compiler of the build (CXX), and from clang++ if it is
# installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

check() {  # check COMPILER HEADER
  printf '#include "%s"\n' "$2" | "$1" -std=c++20 -fsyntax-only -x c++ -Iinclude -Iexamples/models \
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Werror - ||
    { echo "$2 does not compile separately ($1)" >&2; return 1; }
}
export -f check

compilers=("${CXX:-c++}")
if command -v clang++ > /dev/null && ! "${compilers[0]}" --version | grep -q clang; then compilers+=(clang++); fi

headers=$(cd include && find refrain -name '*.hpp' | sort)
headers+=$'\n'$(cd examples/models && find refrain_models -name '*.hpp' | sort)
if [[ -z "$headers" ]]; then
  echo "no headers found" >&2
  exit 1
fi
for compiler in "${compilers[@]}"; do
  grep . <<< "$headers" | xargs -P "$(nproc)" -n 1 bash -c 'check "$0" "$1"' "$compiler"
  echo "$(grep -c . <<< "$headers") headers compile separately ($compiler)"
done
