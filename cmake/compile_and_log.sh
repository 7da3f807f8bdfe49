#!/usr/bin/env bash
# Compiler launcher for CUDA sources: runs the command, stores the register report of ptxas beside
# the object file, and prints the other output.
object=
for ((i = 1; i < $#; ++i)); do
  if [[ "${!i}" == -o ]]; then
    next=$((i + 1))
    object=${!next}
  fi
done
if [[ "$object" != *.o ]]; then exec "$@"; fi
"$@" 2> "$object.log"
status=$?
grep -E "Compiling entry function|bytes stack frame|Used [0-9]+ registers" "$object.log" > "$object.ptxas"
grep -vE "^ptxas info|bytes stack frame" "$object.log" >&2
rm -f "$object.log"
exit $status
