#!/usr/bin/env python3
"""Draws the figures of the documentation as SVG:  draw.py [folder]; this folder by default."""

import pathlib
import sys

BLUE, PALE, ORANGE, GREY, INK = "#2b6cb0", "#dbe7f5", "#dd6b20", "#a0aec0", "#1a202c"


class Picture:
    def __init__(self, width, height, title):
        self.size, self.title, self.parts = (width, height), title, []

    def add(self, part):
        self.parts.append(part)

    def box(self, x, y, width, height, text="", fill=PALE, stroke=BLUE, size=13, color=INK):
        self.add(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{fill}" stroke="{stroke}"/>')
        lines = text.split("\n")
        for i, line in enumerate(lines):
            self.text(x + width / 2, y + height / 2 + size * (0.35 + 1.2 * (i - (len(lines) - 1) / 2)), line, size, color)

    def text(self, x, y, text, size=13, color=INK, anchor="middle"):
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        if text:
            self.add(f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{color}" text-anchor="{anchor}">{text}</text>')

    def line(self, x1, y1, x2, y2, color=GREY, width=1.5, arrow=False):
        end = ' marker-end="url(#tip)"' if arrow else ""
        self.add(f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}" stroke-width="{width}"{end}/>')

    def path(self, points, color=INK):
        joined = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.add(f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="1.5" marker-end="url(#tip)"/>')

    def dot(self, x, y, radius, fill, stroke=BLUE):
        self.add(f'<circle cx="{x:g}" cy="{y:g}" r="{radius}" fill="{fill}" stroke="{stroke}"/>')

    def svg(self):
        width, height = self.size
        tip = (
            f'<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker>'
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="sans-serif">'
        )
        ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
        return "\n".join([head, f"<title>{self.title}</title>", f"<defs>{tip}</defs>", ground, *self.parts, "</svg>", ""])


def receptive_field():
    """Two blocks' four convolutions of three taps: which steps the last output sees."""
    steps, dilations = 19, (1, 2, 2, 4)
    picture = Picture(760, 300, "Steps that one output of dilated convolutions depends on")
    across = lambda t: 130 + 32 * t
    level = lambda l: 260 - 55 * l
    seen = {len(dilations): {steps - 1}}
    for l in range(len(dilations), 0, -1):
        seen[l - 1] = {t - k * dilations[l - 1] for t in seen[l] for k in range(3)}
        for t in sorted(seen[l]):
            for k in range(3):
                picture.line(across(t - k * dilations[l - 1]), level(l - 1) - 7, across(t), level(l) + 7, BLUE, 1)
    for l in range(len(dilations) + 1):
        name = "items" if l == 0 else f"dilation {dilations[l - 1]}"
        picture.text(10, level(l) + 5, name, anchor="start")
        for t in range(steps):
            picture.dot(across(t), level(l), 6, BLUE if t in seen[l] else "#ffffff", BLUE if t in seen[l] else GREY)
    picture.text(across(0), 290, "oldest", 12)
    picture.text(across(steps - 1), 290, "newest", 12)
    return picture


def patch_positions():
    """A residual block without, with serial and with parallel patches."""
    picture = Picture(760, 400, "Where patches stand in a residual block")

    def chain(x, title, patch):
        picture.text(x + 60, 22, title, 14)
        y = 40
        picture.text(x + 60, y + 10, "x", 13)
        start, y = y + 16, y + 34
        for half in (1, 2):
            picture.line(x + 60, y - 18, x + 60, y - 1, INK, 1.5, True)
            picture.box(x, y, 120, 26, f"convolution, {'d' if half == 1 else '2 d'}")
            if patch == "parallel":
                picture.path([(x + 60, y - 10), (x + 165, y - 10), (x + 165, y - 1)])
                picture.box(x + 130, y, 70, 26, "patch", "#fde8d7", ORANGE)
                picture.path([(x + 165, y + 26), (x + 165, y + 40), (x + 69, y + 40)])
                picture.dot(x + 60, y + 40, 8, "#ffffff", INK)
                picture.text(x + 60, y + 45, "+")
                picture.line(x + 60, y + 26, x + 60, y + 31, INK)
                bottom = y + 48
            elif patch == "serial":
                picture.line(x + 60, y + 26, x + 60, y + 35, INK, 1.5, True)
                picture.box(x + 25, y + 36, 70, 22, "patch", "#fde8d7", ORANGE)
                bottom = y + 58
            else:
                bottom = y + 26
            picture.line(x + 60, bottom, x + 60, y + 75, INK, 1.5, True)
            picture.box(x, y + 76, 120, 26, "LayerNorm, ReLU")
            y += 126
        picture.line(x + 60, y - 24, x + 60, y - 5, INK, 1.5, True)
        picture.dot(x + 60, y + 4, 8, "#ffffff", INK)
        picture.text(x + 60, y + 9, "+")
        picture.path([(x + 52, start - 8), (x - 22, start - 8), (x - 22, y + 4), (x + 51, y + 4)])
        picture.line(x + 60, y + 12, x + 60, y + 30, INK, 1.5, True)
        picture.text(x + 60, y + 46, "y", 13)

    chain(45, "no patches", None)
    chain(270, "serial", "serial")
    chain(510, "parallel", "parallel")
    return picture


def chunk_schedules():
    """At which of 20 steps the memory is written and read, with 4 slots."""
    picture = Picture(760, 250, "Chunk steps of the schedules for T = 20 and m = 4")
    across = lambda t: 150 + 29 * (t - 1)
    rows = {"every step": range(1, 21), "PEC": (5, 10, 15, 20), "TSC": (8, 14, 18, 20), "EXC": (17, 18, 19, 20)}
    for row, (name, touched) in enumerate(rows.items()):
        y = 40 + 50 * row
        picture.text(10, y + 5, name, anchor="start")
        begin = 1
        for step in touched:
            picture.box(across(begin) - 12, y - 13, across(step) - across(begin) + 24, 26, "")
            begin = step + 1
        for t in range(1, 21):
            picture.dot(across(t), y, 6, ORANGE if t in touched else "#ffffff", ORANGE if t in touched else GREY)
    for t in (1, 5, 10, 15, 20):
        picture.text(across(t), 225, str(t), 12)
    picture.text(10, 225, "step", 12, anchor="start")
    picture.text(430, 244, "box: a chunk, one call of the controller; filled: the memory is written and read", 12)
    return picture


def architecture():
    """The rooms of the library, each upon what it may include."""
    picture = Picture(760, 330, "Layers of Refrain; each includes only what lies below it")
    picture.box(20, 20, 460, 36, "examples: PeterRec, CmnRec  ·  bench  ·  tests", "#fde8d7", ORANGE)
    picture.box(20, 66, 460, 36, "train: optimizers, metrics, checkpoints, trainer")
    picture.box(20, 112, 150, 36, "data: readers, batches")
    picture.box(180, 112, 300, 36, "nn: layers own parameters")
    picture.box(20, 158, 460, 36, "ops: check arguments, call the table, record gradients")
    picture.box(20, 204, 460, 36, "autograd: variables, tape")
    picture.box(20, 250, 220, 50, "kernel contracts,\ntable: the one dispatch point")
    picture.box(250, 250, 230, 50, "core: tensors, devices, streams,\nrandom numbers, DLPack")
    picture.box(540, 158, 200, 36, "kernels, CPU: AVX2, AVX-512", "#e6f4ea", "#2f855a")
    picture.box(540, 204, 200, 36, "kernels, CUDA", "#e6f4ea", "#2f855a")
    picture.box(540, 250, 200, 50, "src: dispatch, pool, threads,\nfiles", "#e6f4ea", "#2f855a")
    for y in (176, 222, 275):
        picture.path([(540, y), (510, y), (510, 275), (481, 275)])
    picture.text(250, 320, "public headers, the standard library alone", 12)
    picture.text(640, 320, "compiled, in no public header", 12)
    return picture


FIGURES = (receptive_field, patch_positions, chunk_schedules, architecture)

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for figure in FIGURES:
        (folder / f"{figure.__name__}.svg").write_text(figure().svg(), encoding="utf-8")
