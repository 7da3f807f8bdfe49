#!/usr/bin/env bash
# Checks the object files of the instruction set levels of the CPU kernels (cmake/isa.cmake gives
# the reason):
#   tests/checks/levels.sh hidden LEVEL OBJECT    the object of a level: only its table is visible
#   tests/checks/levels.sh plain OBJECT...        objects for every CPU: no instruction needs AVX
set -euo pipefail

# refuse REASON: fails with the reason and standard input, unless that is empty.
refuse() {
  local found
  found=$(sort -u | sed -n 1,20p)
  if [[ -z "$found" ]]; then return; fi
  printf '%s:\n%s\n' "$1" "$found"
  exit 1
}

disassemble() { objdump --disassemble --no-show-raw-insn "$@"; }

case $1 in
  hidden)
    level=$2 object=$3
    table=refrain::kernels::cpu::$level::table
    seen=$(nm --demangle --defined-only --extern-only "$object" | cut -d ' ' -f 3-)
    grep -qxF "$table" <<< "$seen" || { echo "$object has no $table"; exit 1; }
    { grep -vxF "$table" <<< "$seen" || true; } | { grep -vE '^typeinfo (name )?for ' || true; } |
      refuse "the linker could use these on any CPU"
    # Static initializers would run before the CPU is tested. Only optimization removes the
    # initializers of Eigen's empty objects.
    if [[ "$object" == *_Rel*.o ]]; then
      { nm "$object" | grep -E ' (_GLOBAL__sub_I_|__cxx_global_var_init|_Z41__static_initialization)' || true; } |
        refuse "these run at program start"
    fi
    # Constants with addresses are in .data.rel.ro.
    { objdump --syms --demangle "$object" | grep -E ' [.]t?(data|bss)[^ ]*[[:space:]].* (guard variable for )?refrain::' || true; } |
      { grep -vE ' [.]data[.]rel[.]ro|\(anonymous namespace\)' || true; } |
      refuse "these variables of inline functions exist once per level instead of once"
    case $level in
      v3) own='vfmadd.*%ymm' foreign='%zmm|%[xy]mm(1[6-9]|2[0-9]|3[01])|\{%k' ;;
      v4) own='vfmadd.*%zmm' foreign='no such instruction' ;;
    esac
    instructions=$(disassemble "$object")
    grep -qE "$own" <<< "$instructions" || { echo "$object is not compiled for $level"; exit 1; }
    { grep -E "$foreign" <<< "$instructions" || true; } | refuse "not for a CPU of $level"
    echo "the visible symbol of $object is $table"
    ;;
  plain)
    shift
    { disassemble "$@" | grep -E $'\tv[a-z0-9]+ .*%[xyz]mm' || true; } | refuse "not for every CPU"
    echo "$# objects run on every CPU"
    ;;
esac
