#!/usr/bin/env python3
"""Registers, spills and shared memory of every CUDA kernel of a build with REFRAIN_CUDA_REPORT=ON.

Writes <build folder>/cuda_kernels.md, one line per kernel and architecture, and exits with 1 when a
hot kernel spills registers to memory, or when the build has no kernels. Every kernel is hot unless
COLD lists it with a reason.
Usage: tests/checks/cuda_report.py BUILD_FOLDER
"""

import pathlib
import re
import shutil
import subprocess
import sys

COLD = {}  # kernel name -> why its spills do not matter

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def demangled(names):
    if not names or not shutil.which("c++filt"):
        return dict(zip(names, names))
    lines = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(zip(names, lines))


def short(name):
    """void refrain::kernels::cuda::device::copy_rows<...>(...) -> copy_rows<...>"""
    name = re.sub(r"refrain::kernels::|cuda::|device::|simt::|\(int\)|\(bool\)", "", name.removeprefix("void "))
    depth = 0
    for place, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return name[:place]
    return name


def kernels_of(log):
    entry = stack = None
    for line in log.read_text(encoding="utf-8").splitlines():
        if found := ENTRY.search(line):
            entry = found.groups()
        elif found := SPILLS.search(line):
            stack = tuple(map(int, found.groups()))
        elif (found := USED.search(line)) and entry:
            shared = SHARED.search(line)
            yield (*entry, int(found[1]), *stack, int(shared[1]) if shared else 0)
            entry = stack = None


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    build = pathlib.Path(sys.argv[1])
    rows = {}  # (source, kernel) -> {architecture: (registers, stack, stores, loads, shared)}
    for log in sorted(build.rglob("*.ptxas")):
        found = list(kernels_of(log))
        names = demangled([kernel[0] for kernel in found])
        source = re.sub(r".*refrain\.dir/|\.o\.ptxas$", "", log.as_posix())
        for mangled, architecture, *figures in found:
            rows.setdefault((source, short(names[mangled])), {})[architecture] = figures
    if not rows:
        print(f"no kernels in {build}: was it configured with REFRAIN_CUDA_REPORT=ON?")
        return 1
    architectures = sorted({a for figures in rows.values() for a in figures})
    report = ["# CUDA kernels of this build", "", "Registers per thread, bytes spilled (stores + loads), bytes of fixed shared memory.", ""]
    report.append("| source | kernel | " + " | ".join(f"{a} registers | spilled" for a in architectures) + " | shared |")
    report.append("|---|---|" + "---|" * (2 * len(architectures) + 1))
    spilling = []
    for (source, kernel), figures in sorted(rows.items()):
        cells = []
        for architecture in architectures:
            registers, _, stores, loads, _ = figures.get(architecture, (0, 0, 0, 0, 0))
            cells += [str(registers), str(stores + loads)]
            if stores + loads and not any(kernel.startswith(name) for name in COLD):
                spilling.append(f"{source}: {kernel} spills {stores + loads} bytes on {architecture}")
        shared = max(f[4] for f in figures.values())
        report.append(f"| {source} | `{kernel}` | " + " | ".join(cells) + f" | {shared} |")
    (build / "cuda_kernels.md").write_text("\n".join(report) + "\n", encoding="utf-8")
    for line in spilling:
        print(line)
    max_registers = max(figures[a][0] for figures in rows.values() for a in figures)
    print(f"{len(rows)} kernels for {', '.join(architectures)}; at most {max_registers} registers; {len(spilling)} spill "
          f"({build / 'cuda_kernels.md'})")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
