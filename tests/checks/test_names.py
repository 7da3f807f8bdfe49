#!/usr/bin/env python3
"""Checks that ctest can list the names of all test cases.

catch_discover_tests() reads the names of an executable as a CMake list, which ends an element only
at a semicolon outside of square brackets. A name with an open bracket, such as "a share in [0,1)",
merges all later tests of its executable into one entry, and a semicolon cuts a name in two.
Usage: tests/checks/test_names.py [repository root]
"""

import pathlib
import re
import sys

TEXT = r'"(?:[^"\\]|\\.)*"'
TEST_CASE = re.compile(r"\b(?:TEMPLATE_(?:\w+_)?)?TEST_CASE(?:_METHOD)?\s*\(\s*(?:\w+\s*,\s*)?((?:%s\s*)+)" % TEXT)
# Names on which the check is tested, and whether ctest can list them.
EXAMPLES = {"a share in [0,1)": False, "(0,1] and more": False, "a; b": False, "the vector of [TCL]": True, "a, (b] and [c)": True}


def problem(name):
    if ";" in name:
        return "a semicolon"
    if name.count("[") != name.count("]"):
        return "an unmatched square bracket"
    return None


def names_of(text):
    """(line number, name) of each test case; adjacent string literals are one name."""
    for found in TEST_CASE.finditer(text):
        name = "".join(literal[1:-1] for literal in re.findall(TEXT, found[1]))
        yield text.count("\n", 0, found.start()) + 1, name


def main():
    for name, is_listed in EXAMPLES.items():
        planted = list(names_of(f'\nTEMPLATE_TEST_CASE("{name[:3]}"\n  "{name[3:]}", "[tag]", float) {{}}'))
        if planted != [(2, name)] or (problem(name) is None) != is_listed:
            sys.exit(f"the check does not work on the name {name!r}: {planted}, {problem(name)}")
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()
    cases, problems = 0, 0
    for path in sorted((root / "tests").rglob("*")):
        if path.suffix not in {".hpp", ".cpp", ".cu"}:
            continue
        for number, name in names_of(path.read_text(encoding="utf-8")):
            cases += 1
            if (why := problem(name)) is not None:
                problems += 1
                print(f"{path.relative_to(root).as_posix()}:{number}: {name!r} has {why}; ctest would merge or cut test cases")
    if cases == 0:
        print(f"no test cases under {root}/tests")
        return 1
    print(f"{cases} names of test cases, {problems} that ctest cannot list")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
