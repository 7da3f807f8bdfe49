#!/usr/bin/env python3
"""Turns the C++ pieces of Markdown files into test cases:  tests/checks/snippets.py OUTPUT FILE...

Each block that begins with ```cpp becomes one Catch2 test case, compiled with refrain.hpp, the models and "using namespace refrain",
and run.  A block may say so itself.  One with other includes or a main is a program, not a piece, and is left out.
"""
import pathlib
import re
import sys

GIVEN = ("#include <refrain/refrain.hpp>", "using namespace refrain;")
HEADERS = ("refrain_models/cmnrec.hpp", "refrain_models/nextitnet.hpp", "refrain_models/peterrec.hpp", "refrain/refrain.hpp", "support/catch.hpp")


def pieces(path):
    inside, begin, lines = False, 0, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not inside and line.strip() == "```cpp":
            inside, begin, lines = True, number + 1, []
        elif inside and line.strip() == "```":
            inside = False
            text = "\n".join("" if line in GIVEN else line for line in lines)
            if not re.search(r"^\s*#include|\bint main\b", text, re.MULTILINE):
                yield begin, text
        elif inside:
            lines.append(line)
    if inside:
        sys.exit(f"{path}:{begin}: the block does not end")


def main():
    output, files = sys.argv[1], sorted(map(pathlib.Path, sys.argv[2:]))
    text = [f"#include <{name}>" for name in ("cmath", "filesystem", "fstream", "string", "vector")]
    text += [f'#include "{name}"' for name in HEADERS] + ["", "using namespace refrain;", ""]
    for path in files:
        for line, piece in pieces(path):
            text += [f'TEST_CASE("docs: {path.name}, line {line}", "[docs]") {{', f'#line {line} "{path}"', piece, "}", ""]
    pathlib.Path(output).write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
