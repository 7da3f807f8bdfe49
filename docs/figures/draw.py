#!/usr/bin/env python3
"""Draws the figures of the documentation as SVG:  draw.py [folder]; this folder by default."""

import pathlib
import sys

BLUE, PALE, ORANGE, PEACH, GREY, INK = "#2b6cb0", "#dbe7f5", "#dd6b20", "#fde8d7", "#a0aec0", "#1a202c"


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

    def line(self, x1, y1, x2, y2, color=GREY, width=1.5, arrow=False, dashed=False):
        end = (' stroke-dasharray="4 3"' if dashed else "") + (' marker-end="url(#tip)"' if arrow else "")
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
            picture.line(x + 60, y - (18 if half == 1 else 24), x + 60, y - 1, INK, 1.5, True)
            picture.box(x, y, 120, 26, f"convolution, {'d' if half == 1 else '2 d'}")
            if patch == "parallel":
                picture.path([(x + 60, y - 10), (x + 165, y - 10), (x + 165, y - 1)])
                picture.box(x + 130, y, 70, 26, "patch", PEACH, ORANGE)
                picture.path([(x + 165, y + 26), (x + 165, y + 40), (x + 69, y + 40)])
                picture.dot(x + 60, y + 40, 8, "#ffffff", INK)
                picture.text(x + 60, y + 45, "+")
                picture.line(x + 60, y + 26, x + 60, y + 31, INK)
                bottom = y + 48
            elif patch == "serial":
                picture.line(x + 60, y + 26, x + 60, y + 35, INK, 1.5, True)
                picture.box(x + 25, y + 36, 70, 22, "patch", PEACH, ORANGE)
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
    picture.text(430, 244, "box: a chunk; filled: its chunk step, at which the memory is written and read", 12)
    return picture


def chunk_segments():
    """How ChunkedMemory runs 9 steps with chunk steps 6 and 9: calls of the controller, attention, memory."""
    picture = Picture(760, 400, "Segments of the controller, attention and memory for T = 9 and chunk steps 6 and 9")
    across = lambda t: 150 + 64 * (t - 1)
    for y, name in ((40, "memory"), (132, "attention"), (206, "controller"), (292, "inputs"), (342, "item vectors"), (372, "step")):
        picture.text(10, y + 5, name, anchor="start")

    picture.box(across(1) - 26, 20, 52, 40, "initial")
    for before, chunk in ((1, 6), (6, 9)):
        picture.box(across(chunk) - 26, 20, 52, 40, "write,\nread", PEACH, ORANGE)
        picture.line(across(before) + 27, 32, across(chunk) - 27, 32, INK, 1.5, True)
        picture.text((across(before) + across(chunk)) / 2, 26, "memory state", 12)

    # What uses one vector r of the memory.
    picture.line(across(1), 60, across(1), 83, INK, 1.5, True)
    picture.text(across(1) + 8, 77, "r", 12, anchor="start")
    picture.path([(across(6) + 26, 50), (across(7), 50), (across(7), 83)])
    picture.text(across(7) + 8, 77, "r", 12, anchor="start")
    for first, last, text in ((1, 6, "the initial r; its part of the gates: once"), (7, 9, "the r of step 6")):
        picture.box(across(first) - 30, 84, across(last) - across(first) + 60, 154, "", "#fff8f1", ORANGE)
        picture.text((across(first) + across(last)) / 2, 102, text, 12)

    picture.box(across(1) - 24, 116, across(5) - across(1) + 48, 30, "over the hidden vectors h of steps 0 to 5")
    picture.box(across(7) - 24, 116, across(8) - across(7) + 48, 30, "over h of 6 to 8")
    for first, last in ((1, 5), (6, 6), (7, 8), (9, 9)):
        calls = f"steps {first} to {last}: one call" if last - first > 1 else f"{first}, {last}: one call" if last > first else "a call"
        picture.box(across(first) - 24, 190, across(last) - across(first) + 48, 32, calls)
    for chunk, begin in ((6, 1), (9, 7)):
        for t in range(begin, chunk):
            picture.line(across(t), 190, across(t), 147, BLUE, 1.5, True)
        picture.path([(across(chunk - 1) + 24, 132), (across(chunk) - 12, 132), (across(chunk) - 12, 189)])
        picture.text(across(chunk) - 20, 172, "a", 12)
        picture.line(across(chunk) + 4, 190, across(chunk) + 4, 61, INK, 1.5, True)
        picture.text(across(chunk) - 3, 77, "o", 12, anchor="end")
    picture.path([(across(6) + 24, 206), (across(6) + 32, 206), (across(6) + 32, 132), (across(7) - 25, 132)])
    picture.text(across(6) + 20, 172, "h", 12)

    picture.box(across(1) - 24, 276, across(9) - across(1) + 48, 32, "W x + b of all steps: one product")
    for t in range(1, 10):
        picture.line(across(t), 276, across(t), 223, BLUE, 1.5, True)
        picture.line(across(t), 335, across(t), 309, BLUE, 1.5, True)
        picture.dot(across(t), 342, 7, PALE)
        picture.text(across(t), 377, str(t), 12)
    picture.text(380, 396, "a takes the place of the last h; o of the chunk step says what is written and what is looked for", 12)
    return picture


def memory_step():
    """What a step of the DNC memory reads and writes, in the order of the formulas."""
    picture = Picture(760, 456, "What one memory step reads and writes, in order")
    lanes = (
        ("usage", "[N]"),
        ("write\nweighting", "[N]"),
        ("words", "[N,W]"),
        ("links", "[N,N]"),
        ("precedence", "[N]"),
        ("read\nweightings", "[R,N]"),
        ("read\nvectors", "[R,W]"),
    )
    # name, fields of the interface vector, lanes read, lane written
    steps = (
        ("usage", "free gates", (0, 1, 5), 0),
        ("write weighting", "write key, strength, both gates", (0, 2), 1),
        ("words", "erase, write vector", (1, 2), 2),
        ("links", "", (1, 3, 4), 3),
        ("precedence", "", (1, 4), 4),
        ("read weightings", "read keys, strengths, modes", (2, 3, 5), 5),
        ("read vectors", "", (2, 5), 6),
    )
    across = lambda lane: 268 + 74 * lane
    down = lambda step: 100 + 46 * step
    picture.text(10, 38, "renewed, with these fields", 12, anchor="start")
    picture.text(10, 54, "of the interface vector", 12, anchor="start")
    for lane, (name, shape) in enumerate(lanes):
        lines = name.split("\n")
        for i, line in enumerate(lines):
            picture.text(across(lane), 38 + 15 * (i - len(lines) + 1), line, 12)
        picture.text(across(lane), 54, shape, 12)
        written = next(k for k, step in enumerate(steps) if step[3] == lane)
        picture.line(across(lane), 64, across(lane), down(written), GREY, 1.5, False, True)
        picture.line(across(lane), down(written), across(lane), down(len(steps)) - 28, BLUE, 2)
    renewed = set()
    for k, (name, fields, read, written) in enumerate(steps):
        y = down(k)
        picture.text(10, y - (3 if fields else -5), f"{k + 1} {name}", 13, anchor="start")
        picture.text(23, y + 13, fields, 12, anchor="start")
        touched = (*read, written)
        picture.line(across(min(touched)), y, across(max(touched)), y, INK, 1.5)
        for lane in read:
            picture.dot(across(lane), y, 10 if lane == written else 7, "#ffffff", BLUE if lane in renewed else INK)
        picture.dot(across(written), y, 6, ORANGE, ORANGE)
        renewed.add(written)
    picture.dot(30, 430, 7, "#ffffff", INK)
    picture.text(44, 435, "the old value is read", 12, anchor="start")
    picture.dot(206, 430, 7, "#ffffff", BLUE)
    picture.text(220, 435, "the new value is read", 12, anchor="start")
    picture.dot(386, 430, 6, ORANGE, ORANGE)
    picture.text(400, 435, "written", 12, anchor="start")
    picture.dot(476, 430, 10, "#ffffff", INK)
    picture.dot(476, 430, 6, ORANGE, ORANGE)
    picture.text(492, 435, "the new value is made from the old one", 12, anchor="start")
    return picture


def item_losses():
    """Which rows of an item table a look-up and two losses read, and which have a gradient."""
    picture = Picture(760, 412, "Rows of an item table that are read, and that have a gradient")
    items, ids, candidates = 12, (5, 7, 9, 5, 5, 2), (1, 4, 10)
    down = lambda item: 82 + 18 * item
    panels = (("look-up", "ids"), ("softmax over all items", "targets"), ("sampled softmax", "targets"))
    for panel, (title, below) in enumerate(panels):
        left = 14 + 252 * panel
        table, gradient = left + 20, left + 184
        across = lambda p: left + 88 + 16 * p
        picture.text(left + 118, 22, title, 14)
        picture.text(table + 25, 52, "table", 12)
        picture.text(across(2.5), 52, "looked up" if panel == 0 else "scores", 12)
        picture.text(gradient + 25, 52, "gradient", 12)
        for item in range(items):
            scored = panel == 1 or (panel == 2 and item in candidates)
            read = scored or item in ids
            picture.text(left + 14, down(item) + 4, str(item), 11, anchor="end")
            picture.box(table, down(item) - 8, 50, 15, "", PALE if read else "#ffffff", BLUE if read else GREY)
            if read:
                picture.box(gradient, down(item) - 8, 50, 15, "", PEACH, ORANGE)
            for p, one in enumerate(ids):
                if panel and item == one:
                    picture.dot(across(p), down(item), 6, ORANGE, ORANGE)
                elif item == one or (scored and (panel == 2 or p < 3)):
                    picture.dot(across(p), down(item), 6, BLUE)
                else:
                    picture.dot(across(p), down(item), 6, PALE if scored else "#ffffff", BLUE if scored else GREY)
        picture.text(across(-1), down(items) + 4, below, 12, anchor="end")
        for p, one in enumerate(ids):
            picture.text(across(p), down(items) + 4, str(one), 12)
    notes = (
        ("each id takes one row", "row-sparse: 4 rows, the", "three of item 5 summed"),
        ("every item has a score; a block", "of columns exists at a time", "dense: every row"),
        ("targets and S shared candidates", "(here 1, 4, 10) have scores", "row-sparse: their rows"),
    )
    for panel, lines in enumerate(notes):
        for i, line in enumerate(lines):
            picture.text(14 + 252 * panel + 118, 328 + 17 * i, line, 12)
    picture.text(380, 400, "a column is a position, or a row of h; orange dot: the target's score. Optimizers change the rows that have a gradient.", 12)
    return picture


def slice_tree():
    """How the gradients of eight slices are added on three ranks."""
    picture = Picture(760, 330, "Sums of the gradients of eight slices on three ranks")
    fills = ((PALE, BLUE), (PEACH, ORANGE), ("#e2e8f0", "#4a5568"))
    ranks = [r for r in range(3) for _ in range(8 * r // 3, 8 * (r + 1) // 3)]
    across = lambda begin, end: 60 + 85 * (begin + end) / 2
    level = lambda width: {1: 235, 2: 175, 4: 115, 8: 55}[width]

    def node(begin, end):
        width = end - begin
        x, y = across(begin, end), level(width)
        owners = set(ranks[begin:end])
        if width > 1:
            middle = begin + width // 2
            for part in ((begin, middle), (middle, end)):
                sent = len(owners) > 1
                picture.line(across(*part), level(width // 2) - 13, x, y + 13, INK if sent else GREY, 1.5, sent, sent)
                node(*part)
        fill, stroke = fills[owners.pop()] if len(owners) == 1 else ("#ffffff", INK)
        name = f"slice {begin}" if width == 1 else f"{begin} to {end - 1}"
        picture.box(x - 36, y - 13, 72, 26, name, fill, stroke, 12)

    node(0, 8)
    for rank, (fill, stroke) in enumerate(fills):
        begin, end = 8 * rank // 3, 8 * (rank + 1) // 3
        x = across(begin, begin) + 7
        picture.box(x, 275, 85 * (end - begin) - 14, 26, f"rank {rank}", fill, stroke)
    picture.text(across(0, 8) + 46, 60, "gradient of the batch", 12, anchor="start")
    picture.text(10, 322, "Solid: added by the rank of its slices. Dashed: sent, and added by the owner of each chunk of the sum.", 12, anchor="start")
    return picture


def task_batch():
    """Half a block of a batch whose sequences belong to different tasks."""
    picture = Picture(760, 330, "Half a residual block of a batch of many tasks")
    tasks = (("no task", 1, "#ffffff", GREY), ("A", 2, PALE, BLUE), ("B", 1, PEACH, ORANGE), ("C", 3, "#e6f4ea", "#2f855a"))
    top, height = 50, 34
    rows = sum(count for _, count, _, _ in tasks)
    for x, text in ((75, "sequences"), (225, "frozen base"), (395, "patches"), (545, "normalizations"), (690, "heads")):
        picture.text(x, 30, text, 13)
    picture.box(165, top, 120, rows * height - 6, "convolution,\none product\nfor all rows", "#e2e8f0", "#4a5568")
    y = top
    for name, count, fill, stroke in tasks:
        own = count * height - 6
        for i in range(count):
            row = y + i * height
            picture.box(20, row, 110, height - 6, name if name == "no task" else f"task {name}", fill, stroke, 12)
            picture.line(130, row + 14, 164, row + 14, INK, 1.5, True)
        middle = y + own / 2
        if name == "no task":
            picture.line(285, middle, 484, middle, INK, 1.5, True)
            picture.box(485, y, 120, own, "of the base", fill, stroke, 12)
        else:
            picture.line(285, middle, 329, middle, INK, 1.5, True)
            picture.box(330, y, 130, own, f"patch {name}", fill, stroke, 12)
            picture.line(460, middle, 484, middle, INK, 1.5, True)
            picture.box(485, y, 120, own, f"of task {name}", fill, stroke, 12)
            picture.line(605, middle, 639, middle, INK, 1.5, True, True)
            picture.box(640, y, 100, own, f"head {name}", fill, stroke, 12)
        y += count * height
    picture.text(20, 315, "Rows of a bank hold the patches and normalizations of the tasks; row 0 is no task. Dashed: further blocks.", 12, anchor="start")
    return picture


def architecture():
    """The rooms of the library, each upon what it may include."""
    picture = Picture(760, 330, "Layers of Refrain; each includes only what lies below it")
    picture.box(20, 20, 460, 36, "examples: PeterRec, CmnRec  ·  bench  ·  tests", PEACH, ORANGE)
    picture.box(20, 66, 180, 36, "serve: users, tasks")
    picture.box(210, 66, 270, 36, "train: optimizers, checkpoints")
    picture.box(20, 112, 180, 36, "data: readers, batches")
    picture.box(210, 112, 270, 36, "nn: layers own parameters")
    picture.box(20, 158, 460, 36, "ops: check arguments, call the table, record gradients")
    picture.box(20, 204, 460, 36, "autograd: variables, tape")
    picture.box(20, 250, 220, 50, "kernel contracts,\ntable: the one dispatch point")
    picture.box(250, 250, 230, 50, "core: tensors, devices, streams,\nrandom numbers, DLPack")
    picture.box(540, 158, 200, 36, "kernels, CPU", "#e6f4ea", "#2f855a")
    picture.box(540, 204, 200, 36, "kernels, CUDA", "#e6f4ea", "#2f855a")
    picture.box(540, 250, 200, 50, "src: dispatch, pool, threads,\nfiles", "#e6f4ea", "#2f855a")
    for y in (176, 222, 275):
        picture.path([(540, y), (510, y), (510, 275), (481, 275)])
    picture.text(250, 320, "public headers, the standard library alone", 12)
    picture.text(640, 320, "compiled, in no public header", 12)
    return picture


FIGURES = (receptive_field, patch_positions, chunk_schedules, chunk_segments, memory_step, item_losses, slice_tree, task_batch, architecture)

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for figure in FIGURES:
        (folder / f"{figure.__name__}.svg").write_text(figure().svg(), encoding="utf-8")
