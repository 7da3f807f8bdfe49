#!/usr/bin/env python3
"""Checks the links and names of the Markdown pages: tests/checks/links.py [repository root]

In README.md and docs/: every relative link and image is a file of the repository, every anchor a
heading of its page; every path in backticks that begins with a folder of the repository
(`tests/run.sh`, `src/*.cpp`) exists, and every type or member in backticks (`PatchSet`,
`Accuracy::text`) occurs in the sources. The rows of a table have as many cells as its header. Links
to other sites are not checked.
"""

import pathlib
import re
import sys
import urllib.parse

FOLDERS = ("bench", "cmake", "docs", "examples", "include", "kernels", "src", "tests", ".ci")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"|^\[[^\]]+\]:\s*(\S+)")
CODE = re.compile(r"(`+)(.+?)\1")
NAME = re.compile(r"((?:[A-Z][a-z0-9]+){2,}|[A-Z][a-z0-9]+(?=::))(?:::(\w+))?(?:\(\))?")
STYLES = {"UpperCamel"}  # not names of the sources
PATH = re.compile(r"(?:%s)/[\w./*<>-]*" % "|".join(map(re.escape, FOLDERS)))


def lines_without_blocks(text):
    """(number, line) outside of fenced code."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and fence is None:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = None
        elif fence is None:
            yield number, line


def words_of_sources(root, cache={}):
    if root not in cache:
        files = [file for folder in FOLDERS for file in (root / folder).rglob("*") if file.suffix in (".hpp", ".cpp", ".cu", ".cuh", ".py", ".txt")]
        cache[root] = set(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)))
    return cache[root]


def anchors(path, cache={}):
    """GitHub's anchors of a page's headings: lower case, letters, digits, - and _, blanks as -, repetitions numbered."""
    if path not in cache:
        found, counts = set(), {}
        for _, line in lines_without_blocks(path.read_text(encoding="utf-8")):
            heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
            if heading:
                text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
                slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
                count = counts[slug] = counts.get(slug, -1) + 1
                found.add(slug if count == 0 else f"{slug}-{count}")
            found.update(re.findall(r'<a (?:id|name)="([^"]+)"', line))
        cache[path] = found
    return cache[path]


def problem_of_link(root, page, target):
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None
    name, _, anchor = target.partition("#")
    path = (page.parent / urllib.parse.unquote(name)).resolve() if name else page
    if not path.is_relative_to(root):
        return "leads out of the repository"
    if not path.exists():
        return "there is no such file"
    if anchor and (path.suffix != ".md" or anchor not in anchors(path)):
        return f"{path.relative_to(root)} has no heading of that name"
    return None


def problems(root, page):
    columns = None  # bars of a table's header; a bar in backticks also separates cells, unless it is escaped
    for number, line in lines_without_blocks(page.read_text(encoding="utf-8")):
        bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        if bars is not None and columns is not None and bars != columns:
            yield f"{number}: a row of {bars - 1} cells in a table of {columns - 1}"
        columns = None if bars is None else columns or bars
        for code in CODE.finditer(line):
            text = code[2].strip()
            pattern = re.sub(r"<[^>]*>", "*", text)
            if PATH.fullmatch(text) and not any(root.glob(pattern.rstrip("/"))):
                yield f"{number}: `{text}`: there is no such file"
            name = NAME.fullmatch(text)
            if name and not set(filter(None, name.groups())) - STYLES <= words_of_sources(root):
                yield f"{number}: `{text}`: the sources have no such name"
        for match in LINK.finditer(CODE.sub("", line)):
            target = next(group for group in match.groups() if group)
            why = problem_of_link(root, page, target)
            if why:
                yield f"{number}: {target}: {why}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    found = [f"{page.relative_to(root)}:{problem}" for page in pages for problem in problems(root, page)]
    for problem in found:
        print(problem)
    print(f"{len(pages)} pages, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
