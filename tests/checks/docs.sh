#!/usr/bin/env bash
# Checks the documentation: doxygen has no warning about a public header, links and names exist, the
# index of the public interface is complete, and the figures match their script. The reference is
# left in build/docs/html.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/install.sh
need doxygen doxygen
need python3 python3-minimal
install_missing

planted=$(mktemp -d)
trap 'rm -rf "$planted"' EXIT

# reference INPUT FOLDER: fails and prints the warnings if there are any.
reference() {
  mkdir -p "$2"
  (cat docs/Doxyfile && echo "INPUT = $1" && echo "OUTPUT_DIRECTORY = $2") | doxygen - > "$2/doxygen.log" 2>&1 &&
    ! grep -E 'warning:|error:' "$2/doxygen.log"
}

# Planted errors verify that the checks detect them.
mkdir -p "$planted/refrain" "$planted/docs"
printf '#pragma once\n/// A header.\n\n/// Has @nonsense in it.\nint planted();\n' > "$planted/refrain/planted.hpp"
if reference "$planted/refrain" "$planted/out" > "$planted/log"; then
  echo "doxygen did not warn about a planted error" >&2
  exit 1
fi
grep -q "planted.hpp:4: warning: Found unknown command '@nonsense'" "$planted/log"
printf '# Here\n[a](docs/b.md) [b](docs/c.md#Here) [c](#there) `tests/none.sh` `NoSuchType`\n`Planted::name` [fine](docs/c.md#here)\n| a | b |\n|---|---|\n| `1|2` | 3 |\n' > "$planted/README.md"
printf '# Here\n' > "$planted/docs/c.md"
mkdir -p "$planted/src"
echo 'struct Planted { int name; };' > "$planted/src/planted.hpp"
if python3 tests/checks/links.py "$planted" > "$planted/log"; then
  echo "planted problems were not detected" >&2
  exit 1
fi
grep -q '^2 pages, 6 problems$' "$planted/log"
mkdir -p "$planted/include/refrain"
printf 'namespace refrain {\nint listed();\nint missing();\n}  // namespace refrain\n' > "$planted/include/refrain/planted.hpp"
printf '| a | b | c |\n|---|---|---|\n| a task | `listed`, `unknown` | `refrain/planted.hpp` |\n' > "$planted/docs/api.md"
if python3 tests/checks/api.py "$planted" > "$planted/log"; then
  echo "planted problems of the index were not detected" >&2
  exit 1
fi
grep -q '^2 public names in 1 headers, 2 problems$' "$planted/log"

reference include/refrain build/docs
echo "$(find include/refrain -name '*.hpp' | wc -l) headers, no warning of doxygen $(doxygen --version)"
python3 tests/checks/links.py
python3 tests/checks/api.py
python3 docs/figures/draw.py "$planted"
for figure in "$planted"/*.svg; do
  cmp "$figure" "docs/figures/$(basename "$figure")" || { echo "run docs/figures/draw.py" >&2; exit 1; }
done
echo "$(find docs/figures -name '*.svg' | wc -l) figures match docs/figures/draw.py"
