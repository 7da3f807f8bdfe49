#!/usr/bin/env python3
"""Table and figure of the results of bench/run.sh:

  bench/table.py FILE [--plot PATH]   PATH without suffix: writes PATH.svg and PATH.png (matplotlib)

FILE: the JSON array of run.sh. The share of a line is the larger of two: its arithmetic relative to
the measured product rate, and its memory traffic relative to the measured copy rate. Near 100 % the
machine is at its limit for this way of computing.
"""
import argparse
import json
import sys


def load(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"table: {path}: {error}")


def print_table(rows):
    width = max(len(row["name"]) for row in rows)
    print(f"{'':<{width}}  {'ms':>10} {'GFLOP/s':>9} {'GB/s':>8} {'share':>6} {'MiB':>8}")
    for row in rows:
        def cell(key, form):
            return "" if row.get(key) is None else format(row[key], form)
        print(f"{row['name']:<{width}}  {row['ms']:>10.3f} {cell('gflops', '.1f'):>9} {cell('gbytes', '.1f'):>8} "
              f"{cell('share', '.0%'):>6} {cell('mib', '.0f'):>8}")


def parts_of(name):
    """model, mode and numbers of a whole step's name: nextitnet/train/B:32/T:10/C:64/V:10670."""
    model, mode, *numbers = name.split("/")
    return model, mode, {key: int(value) for key, value in (number.split(":") for number in numbers if ":" in number)}


def plot(rows, threads, path):
    try:
        import matplotlib
    except ImportError:
        sys.exit("table: this Python has no matplotlib; install it (pip install matplotlib, or apt install python3-matplotlib)")
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scaling", "font.family": "sans-serif", "font.size": 9})
    import matplotlib.pyplot as plt
    steps = [(*parts_of(row["name"]), row) for row in rows if row["suite"] == "steps"]
    training = [(model, numbers, row) for model, mode, numbers, row in steps if mode == "train" and numbers.get("B") == 32]

    def series(model, axis, **fixed):
        chosen = [(numbers[axis], row) for name, numbers, row in training
                  if name == model and all(numbers.get(key) == value for key, value in fixed.items())]
        return sorted(chosen, key=lambda pair: pair[0])

    figure, axes = plt.subplots(2, 3, figsize=(11.5, 6.4))
    panels = [
        (axes[0][0], "Training step, T", "ms", [("NextItNet, C = 64", series("nextitnet", "T", C=64, V=10670)),
                                               ("CmnRec, H = 256, m = 9", series("cmnrec", "T"))]),
        (axes[0][1], "Training step, V (T = 20)", "ms", [("NextItNet, C = 64", series("nextitnet", "V", C=64, T=20))]),
        (axes[0][2], "Training step, C (T = 20)", "ms", [("NextItNet", series("nextitnet", "C", V=10670, T=20))]),
        (axes[1][0], "Memory of a training step, V (T = 20)", "mib", [("whole step", series("nextitnet", "V", C=64, T=20)),
                                                                     ("parameters and Adam's moments", None)]),
    ]
    for axis, title, key, lines in panels:
        for label, points in lines:
            if points is None:  # two tables of C = 64 columns: values, gradients, two moments
                values = [v for v, _ in lines[0][1]]
                axis.plot(values, [2 * 4 * 4 * 64 * v / 2**20 for v in values], "--", color="#888888", label=label)
            elif points:
                axis.plot([x for x, _ in points], [row[key] for _, row in points], "o-", markersize=4, label=label)
        axis.set_title(title, loc="left", fontweight="bold", fontsize=9.5)
        axis.set_ylabel("MiB" if key == "mib" else "ms")
        axis.set_ylim(0, 1.2 * axis.get_ylim()[1])  # room for the legend
        axis.set_xlim(0)
        axis.grid(color="#e4e4e4", linewidth=0.7)
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    loss = sorted((int(row["name"].split("/V:")[1].split("/")[0]), row) for row in rows
                  if row["name"].startswith("softmax_loss_step/P:2560/C:64/"))
    axes[1][1].plot([v for v, _ in loss], [row["mib"] for _, row in loss], "o-", markersize=4, label="softmax loss with gradients")
    axes[1][1].plot([v for v, _ in loss], [4 * 2560 * v / 2**20 for v, _ in loss], "--", color="#888888",
                    label="scores of 2,560 rows, if stored")
    axes[1][1].set_title("Memory of the loss, V", loc="left", fontweight="bold", fontsize=9.5)
    axes[1][1].set_ylabel("MiB")
    axes[1][1].set_ylim(0, 1.2 * axes[1][1].get_ylim()[1])
    axes[1][1].legend(frameon=False, fontsize=8, loc="upper left")
    gains = []
    for name in sorted({row["name"] for row in threads}, reverse=True):
        points = sorted((row["threads"], row["ms"]) for row in threads if row["name"] == name)
        if len(points) > 1:
            model, mode, numbers = parts_of(name)
            gains.append((f"{model} {mode}, C {numbers['C']}", points[0][1] / points[-1][1], points[-1][0]))
    axes[1][2].barh([label for label, _, _ in gains], [gain for _, gain, _ in gains], color="#1f77b4", height=0.65)
    axes[1][2].set_title(f"Speed-up of {gains[0][2] if gains else 0} threads over one", loc="left", fontweight="bold", fontsize=9.5)
    axes[1][2].tick_params(axis="y", labelsize=7)
    axes[1][2].set_xlim(0)
    for axis in (axes[0][1], axes[1][0], axes[1][1]):
        axis.xaxis.set_major_formatter(lambda v, _: f"{v / 1000:g}k")
    for axis in (axes[1][1], axes[1][2]):
        axis.grid(color="#e4e4e4", linewidth=0.7)
        axis.set_axisbelow(True)
    for axis in axes.flat:
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.tight_layout()
    for ending in ("svg", "png"):
        figure.savefig(f"{path}.{ending}", dpi=140, metadata={"Date": None} if ending == "svg" else None)
        print(f"{path}.{ending}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="JSON of run.sh")
    parser.add_argument("--plot", help="draw scaling figures, path without suffix")
    options = parser.parse_args()
    rows = load(options.file)
    max_threads = max((row["threads"] for row in rows), default=0)
    for name in sorted({row["suite"] for row in rows}):
        chosen = [row for row in rows if row["suite"] == name and row["threads"] == max_threads]
        if chosen:
            print(f"\n{name}: {max_threads} threads, product {chosen[0]['ceiling_gflops']:.0f} GFLOP/s, "
                  f"copy {chosen[0]['ceiling_gbytes']:.0f} GB/s, kernels for {chosen[0]['cpu_isa']}")
            print_table(chosen)
    if options.plot:
        plot([row for row in rows if row["threads"] == max_threads], [row for row in rows if row["suite"] == "steps"], options.plot)


if __name__ == "__main__":
    main()
