#!/usr/bin/env python3
"""Plots the chunk speed-ups measured by chunk_speedup.sh, and the paper's:

  bench/plot_chunk_speedup.py FILE --out docs/chunk_speedup        (writes docs/chunk_speedup.svg and .png)

FILE is the JSON array of chunk_speedup.sh. Bars: speed-up over memory access at every time step;
short black lines: the limit by counted multiply-adds. The paper states no schedule for its
speed-ups, and those of training only for the largest m of each set.
"""
import argparse
import json
import sys

SETS = {10: "weishi, T = 10", 50: "ml-10M, T = 50", 100: "ml-latest, T = 100"}
PAPER = {
    "infer": {10: {2: 1.51, 3: 1.52}, 50: {2: 6.28, 4: 6.71, 6: 6.17, 9: 4.68},
              100: {2: 11.35, 4: 12.16, 6: 10.51, 9: 8.28, 12: 8.03}},
    "train": {10: {3: 2.75}, 50: {9: 4.44}, 100: {12: 6.34}},
}
SCHEDULES = {"pec": ("PEC", "#8fb8de"), "tsc": ("TSC", "#1f6fb4"), "exc": ("EXC", "#c7d4c0")}
BAR = 0.21
PAPER_COLOUR = "#b9b9b9"
PAPER_TEXT = {"color": "#666666"}
TSC_TEXT = {"color": "#1f4e79", "fontweight": "bold"}
PANELS = [("infer", "none", "Inference"), ("train", "sampled", "Training, V / 10 sampled negatives")]


def label(axes, x, y, value, align, style):
    axes.annotate(f"{value:.2f}", (x, y), xytext=(0, 2), textcoords="offset points", ha=align, fontsize=7, **style)


def draw_panel(axes, rows, mode, title):
    start, ticks, labels = 0.0, [], []
    for steps, set_name in SETS.items():
        slots = sorted({row["slots"] for row in rows if row["time"] == steps})
        if not slots:
            continue
        first = start
        for m in slots:
            top, tsc = 0.0, None
            for k, (key, (_, colour)) in enumerate(SCHEDULES.items()):
                row = next((r for r in rows if (r["time"], r["slots"], r["schedule"]) == (steps, m, key)), None)
                if row is None:
                    continue
                at = start + (k - 0.5) * BAR
                axes.bar(at, row["speedup"], 0.92 * BAR, color=colour, zorder=2)
                axes.hlines(row["counted_bound"], at - 0.46 * BAR, at + 0.46 * BAR, color="black", linewidth=1.2, zorder=3)
                top = max(top, row["speedup"], row["counted_bound"])
                if key == "tsc":
                    tsc = at, row["speedup"]
            if tsc is not None:
                label(axes, tsc[0], top, tsc[1], "center", TSC_TEXT)
            if (paper := PAPER[mode][steps].get(m)) is not None:
                at = start - 1.5 * BAR
                axes.bar(at, paper, 0.92 * BAR, color=PAPER_COLOUR, zorder=2)
                label(axes, at + 0.46 * BAR, paper, paper, "right", PAPER_TEXT)
            ticks.append(start)
            labels.append(f"m = {m}")
            start += 1
        axes.annotate(set_name, ((first + start - 1) / 2, 0), xycoords=("data", "axes fraction"), xytext=(0, -26),
                      textcoords="offset points", ha="center", fontsize=9)
        start += 0.5
    axes.axhline(1, color="#444444", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xticks(ticks, labels, fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlim(-0.6, start - 0.9)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.06)
    axes.set_ylabel("speed-up over SRMN", fontsize=9)
    axes.set_title(title, fontsize=10, loc="left", fontweight="bold")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7, zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="JSON of chunk_speedup.sh")
    parser.add_argument("--out", required=True, help="path without suffix")
    options = parser.parse_args()
    try:
        import matplotlib
    except ImportError:
        sys.exit("plot_chunk_speedup: this Python has no matplotlib; install it (pip install matplotlib, or apt install "
                 "python3-matplotlib)")
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "chunk_speedup", "font.family": "sans-serif"})
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    try:
        with open(options.file) as file:
            rows = json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"plot_chunk_speedup: {options.file}: {error}")
    panels = [(mode, title, chosen) for mode, loss, title in PANELS
              if (chosen := [row for row in rows if (row["mode"], row["loss"]) == (mode, loss)])]
    if not panels:
        sys.exit(f"plot_chunk_speedup: {options.file} contains neither inference nor training with sampled negatives")
    figure, all_axes = plt.subplots(len(panels), 1, figsize=(11.5, 3.5 * len(panels)), squeeze=False)
    for axes, (mode, title, chosen) in zip(all_axes[:, 0], panels):
        batches = sorted({row["batch"] for row in chosen})
        draw_panel(axes, chosen, mode, f"{title}, batch {', '.join(map(str, batches))}")
    handles = [Patch(color=PAPER_COLOUR, label="paper (GPU)")]
    handles += [Patch(color=colour, label=f"{name}, measured (CPU)") for name, colour in SCHEDULES.values()]
    handles += [Line2D([], [], color="black", linewidth=1.2, label="limit by counted multiply-adds")]
    figure.legend(handles=handles, loc="upper center", ncols=len(handles), frameon=False, fontsize=8.5)
    figure.tight_layout(rect=(0, 0, 1, 0.96), h_pad=2)
    for ending in ("svg", "png"):
        metadata = {"Date": None} if ending == "svg" else None
        figure.savefig(f"{options.out}.{ending}", dpi=150, metadata=metadata)
        print(f"{options.out}.{ending}")


if __name__ == "__main__":
    main()
