#!/usr/bin/env python3
"""Turns the C++ blocks of Markdown files into test cases: tests/checks/snippets.py OUTPUT FILE...

Each block that begins with ```cpp becomes one Catch2 test case, compiled with refrain.hpp, the
models and "using namespace refrain", and run in a temporary folder with a generated ratings.csv.
Blocks may contain these lines themselves. A block with a main() is a program: it is compiled as a
whole, its main() is run, and later blocks of the page may use its declarations. A block with
includes other than refrain.hpp and the standard library is skipped.
"""
import pathlib
import re
import sys

GIVEN = ("#include <refrain/refrain.hpp>", "using namespace refrain;")
HEADERS = ("refrain_models/cmnrec.hpp", "refrain_models/nextitnet.hpp", "refrain_models/peterrec.hpp", "refrain_models/task_bank.hpp", "refrain/refrain.hpp", "support/catch.hpp",
           "support/generated_ratings.hpp", "support/scratch.hpp")


STANDARD = re.compile(r"^\s*#include <([a-z_0-9]+)>$")


def blocks(path):
    """The C++ blocks of a page: number of the first line, and the text without the lines in GIVEN."""
    inside, begin, lines = False, 0, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not inside and line.strip() == "```cpp":
            inside, begin, lines = True, number + 1, []
        elif inside and line.strip() == "```":
            inside = False
            text = "\n".join("" if line in GIVEN or STANDARD.match(line) else line for line in lines)
            headers = {found[1] for line in lines if (found := STANDARD.match(line))}
            if not re.search(r"^\s*#include", text, re.MULTILINE):
                yield begin, text, headers
        elif inside:
            lines.append(line)
    if inside:
        sys.exit(f"{path}:{begin}: the block does not end")


def page(path):
    """The test cases of a page, and the standard headers that they include."""
    space, text, headers = None, [], set()
    for line, block, asked in blocks(path):
        headers |= asked
        title, source = f'"docs: {path.name}, line {line}"', f'#line {line} "{path}"'
        body = ["program();"]
        if "int main()" in block:
            space = f"docs_{re.sub(r'[^a-z0-9]', '_', path.stem.lower())}_{line}"
            text += [f"namespace {space} {{", source, block.replace("int main()", "void program()", 1), f"}}  // namespace {space}"]
        else:
            body = [source, block]
        text += [f'TEST_CASE({title}, "[docs]") {{', "const DocsFolder docs_folder;"]
        text += ([f"using namespace {space};"] if space else []) + body + ["}", ""]
    return text, headers


FOLDER = """
/// The working folder of a piece.
struct DocsFolder {
  test::ScratchFolder scratch{};
  std::filesystem::path before = std::filesystem::current_path();
  DocsFolder() {
    scratch.write("ratings.csv", test::generated_ratings());
    std::filesystem::current_path(scratch.path(""));
  }
  DocsFolder(const DocsFolder&) = delete;
  DocsFolder& operator=(const DocsFolder&) = delete;
  ~DocsFolder() { std::filesystem::current_path(before); }
};
"""


def main():
    output, files = sys.argv[1], sorted(map(pathlib.Path, sys.argv[2:]))
    headers, cases = {"cmath", "filesystem", "fstream", "functional", "string", "vector"}, []
    for path in files:
        text, asked = page(path)
        cases += text
        headers |= asked
    text = [f"#include <{name}>" for name in sorted(headers)]
    text += [f'#include "{name}"' for name in HEADERS] + ["", "using namespace refrain;", FOLDER]
    pathlib.Path(output).write_text("\n".join(text + cases), encoding="utf-8")


if __name__ == "__main__":
    main()
