#!/usr/bin/env python3
"""Checks the symbols of the libraries.

The shared library exports only names of the namespace refrain, and of the kernels only their table
and the error for an absent one. The static library has no strong symbol outside the namespace. No
function of a public header is hidden because REFRAIN_API is missing.
Usage: tests/checks/symbols.py LIBREFRAIN.SO LIBREFRAIN.A INCLUDE_FOLDER
"""

import pathlib
import re
import subprocess
import sys

DATA = r"(typeinfo for |typeinfo name for |vtable for |guard variable for |TLS (init|wrapper) function for )?"
PUBLIC = re.compile(DATA + r"refrain::(?!kernels::|cpu::|cuda::)|refrain::kernels::(table|detail::throw_absent)\(")
INTERNAL = re.compile(r"refrain::(kernels|cpu|cuda)::")  # namespaces without public functions, except the table


def symbols(*arguments):
    """(kind, demangled name) of each symbol that nm lists."""
    listing = subprocess.run(["nm", "--demangle", "--defined-only", *arguments], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^[0-9a-f]+ ([A-Za-z]) (.+)$", listing, re.MULTILINE)
    if not found:
        sys.exit(f"nm {' '.join(arguments)}: no symbols")
    # The symbol of a template begins with its return type.
    return [(kind, re.sub(r"^void (?=refrain::)", "", name.replace("[abi:cxx11]", ""))) for kind, name in found]


def main():
    shared, static, include = sys.argv[1:]
    headers = "\n".join(path.read_text(encoding="utf-8") for path in sorted(pathlib.Path(include).rglob("*.hpp")))
    exported = {name for _, name in symbols("--dynamic", shared)}
    strong = {name for kind, name in symbols("--extern-only", static) if kind in "TDBR"}
    problems = [f"exported, but internal: {name}" for name in exported if not PUBLIC.match(name)]
    problems += [f"strong, but outside the namespace refrain: {name}" for name in strong if not re.match(DATA + "refrain::", name)]
    for name in strong - exported:
        if INTERNAL.match(name):
            continue
        path = name.split("(")[0].removeprefix("refrain::").split("::")
        owner = next((part for part in path if part[:1].isupper()), None)
        named = rf"\b(class|struct) (REFRAIN_API )?{owner}\b[^;]*\{{" if owner else rf"(?<![\w:]){re.escape(path[-1])}\("
        if re.search(named, headers):
            problems.append(f"hidden, but named by a public header (REFRAIN_API?): {name}")
    print("\n".join(sorted(problems) + [f"{len(exported)} names exported, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
