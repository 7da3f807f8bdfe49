#!/usr/bin/env python3
"""Compares docs/api.md, the index of the public interface, with the headers.

Public are the types, functions, constants and aliases that a header of include/refrain/ declares in
the namespace refrain or in a namespace inside it, except in folders detail/ and namespaces detail.
The index has tables of three columns: a task, the names for it in backticks, and the headers in
backticks, as they are included. Each name must be declared by a header of its row, and each public
name must be in a row with its header.
Usage: tests/checks/api.py [repository root]
       tests/checks/api.py --list             prints each header with its public names
"""

import pathlib
import re
import sys

COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", re.MULTILINE)
TEMPLATE = re.compile(r"\btemplate\s*<")
NAMESPACE = re.compile(r"(?:inline\s+)?namespace\s+([\w:]+)\s*$")
TYPE = re.compile(r"(?:^|\s)(?:class|struct|union|enum(?:\s+class)?)\s+(?:[A-Z][A-Z_]+\s+|\[\[[^\]]*\]\]\s*)*(\w+)\s*(?:final\b)?\s*(?::(?!:).*)?$", re.DOTALL)
ALIAS = re.compile(r"^using\s+(\w+)\s*=")
CONCEPT = re.compile(r"^concept\s+(\w+)\s*=")
FUNCTION = re.compile(r"(?<![\w:])(operator\s*\S+|[a-z_]\w*)\s*\($")
VARIABLE = re.compile(r"\b(?:constexpr|constinit|extern)\b[^=({]*?(\w+)\s*(?:=|\{|$)")
FUNCTION_LIKE = ("if", "for", "while", "switch", "return", "sizeof", "decltype", "requires", "noexcept", "alignas", "static_assert", "explicit")


def without_angles(text):
    """The declaration from its return type on, without template parameter lists."""
    while found := TEMPLATE.search(text):
        depth, place = 1, found.end()
        while place < len(text) and depth:
            depth += (text[place] == "<") - (text[place] == ">" and text[place - 1] not in "-=")
            place += 1
        text = text[:found.start()] + text[place:]
    text = re.sub(r"^\s*requires\b(?:\s*\([^()]*(?:\([^()]*\)[^()]*)*\)|\s*requires\b.*?\}|[^;{]*?(?=\b(?:class|struct|inline|constexpr|void|auto|std::)))", "", text, flags=re.DOTALL)
    return text.strip()


def name_of(declaration):
    """The name that a declaration at namespace scope introduces, or None."""
    text = without_angles(re.sub(r"\[\[.*?\]\]", "", declaration))
    if not text or text.startswith(("friend", "static_assert", "namespace", "extern \"C\"")):
        return None
    if found := ALIAS.match(text) or CONCEPT.match(text):
        return found[1]
    if text.startswith("using"):
        return None
    head = text.split("(")[0]
    if found := TYPE.search(text if "(" not in text else head):
        return found[1]
    if "(" in text:
        found = FUNCTION.search(head + "(")
        if found:
            name = found[1]
            return None if name in FUNCTION_LIKE or name.startswith("operator") else name
        if "::" in head:  # a member defined outside its class
            return None
    if found := VARIABLE.search(text):
        return found[1]
    return None


def declarations(text):
    """(namespaces, declaration) of all declarations at namespace scope."""
    text = DIRECTIVE.sub("", COMMENT.sub(lambda found: '""' if found[0][0] in "\"'" else " ", text))
    spaces, start, depth = [], 0, 0
    for place, letter in enumerate(text):
        if letter == "{":
            if depth == 0 and (found := NAMESPACE.search(text[start:place])):
                spaces.append(found[1].split("::"))
                start = place + 1
                continue
            if depth == 0:
                yield sum(spaces, []), text[start:place]
            depth += 1
        elif letter == "}":
            if depth == 0:
                if spaces:
                    spaces.pop()
                start = place + 1
                continue
            depth -= 1
            if depth == 0:
                start = place + 1
        elif letter == ";" and depth == 0:
            yield sum(spaces, []), text[start:place]
            start = place + 1


def public_names(root):
    """header -> names."""
    found = {}
    include = root / "include"
    for path in sorted((include / "refrain").rglob("*.hpp")):
        header = path.relative_to(include).as_posix()
        if "detail" in header.split("/"):
            continue
        names = found.setdefault(header, [])
        for spaces, declaration in declarations(path.read_text(encoding="utf-8")):
            if not spaces or spaces[0] != "refrain" or "detail" in spaces or "" in spaces:
                continue
            name = name_of(declaration)
            if name is not None:
                name = "::".join([*spaces[1:], name])
                if name not in names:
                    names.append(name)
    return found


def rows(page):
    """(line, names, headers) of each row of the tables."""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        if not line.startswith("|") or len(cells) != 5 or set(cells[1]) <= set("-: "):
            continue
        names = [re.sub(r"[(<].*", "", code) for code in re.findall(r"`([^`]+)`", cells[2])]
        headers = re.findall(r"`([^`]+\.hpp)`", cells[3])
        if headers:
            yield number, names, headers


def main():
    listing = "--list" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--list"]
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parents[2]).resolve()
    public = public_names(root)
    if listing:
        for header, names in public.items():
            print(f"{header}: {', '.join(names)}")
        return 0
    page = root / "docs/api.md"
    problems, listed = [], set()
    for number, names, headers in rows(page):
        for header in headers:
            if header not in public:
                problems.append(f"docs/api.md:{number}: {header} is not a public header")
        for name in names:
            places = [header for header in headers if name in public.get(header, ())]
            if not places:
                problems.append(f"docs/api.md:{number}: {name} is not declared in {', '.join(headers)}")
            listed.update((header, name) for header in places)
    for header, names in public.items():
        for name in names:
            if (header, name) not in listed:
                problems.append(f"docs/api.md: {name} of {header} is missing")
    for problem in problems:
        print(problem)
    count = sum(map(len, public.values()))
    if count == 0:
        print("no public names found")
    print(f"{count} public names in {len(public)} headers, {len(problems)} problems")
    return 1 if problems or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
