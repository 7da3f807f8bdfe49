#!/usr/bin/env python3
"""Checks which kernels use tensor cores.

Compiles the sources of KERNELS to PTX, which needs only nvcc (no GPU, no disassembler), and searches
for mma.sync, which always becomes a tensor core instruction (HMMA). The arithmetic of a kernel is a
template argument (refrain::MathMode). Exits with 1 when a tf32 or bf16 kernel has no product of its
kind, an exact kernel has one, or a kernel lacks one of the three modes.
Usage: tests/checks/cuda_tensor_cores.py
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

KERNELS = {  # kernel -> source
    "conv_norm_tile": "kernels/conv_norm/cuda_forward.cu",
    "convolve_tile": "kernels/causal_conv/cuda_forward.cu",
    "patch_tile": "kernels/patch/cuda_forward.cu",
}
MODES = ["exact", "tf32", "bf16"]  # in the order of refrain::MathMode
ENTRY = re.compile(r"\.entry (\w+)")
PRODUCT = re.compile(r"mma\.sync\S*\.f32\.(tf32|bf16)\.")


def ptx(source):
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    command = [nvcc, "-std=c++20", "-DNDEBUG", "-I.", "-Iinclude", "-arch=compute_80", "-ptx", source, "-o", "/dev/stdout"]
    root = pathlib.Path(__file__).resolve().parents[2]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root).stdout


def instances(text, kernel):
    """(mode, kinds of products) of each instance of a kernel in PTX."""
    pieces = ENTRY.split(text)  # text before the first entry, then names and bodies
    for name, body in zip(pieces[1::2], pieces[2::2]):
        if found := re.search(rf"\d{kernel}I[fd]L\w*?MathModeE(\d)E", name):
            yield MODES[int(found[1])], set(PRODUCT.findall(body))


def main():
    wrong = []
    for kernel, source in KERNELS.items():
        counts = dict.fromkeys(MODES, 0)
        for mode, kinds in instances(ptx(source), kernel):
            counts[mode] += 1
            if kinds != {mode} - {"exact"}:
                wrong.append(f"{kernel}: an instance for {mode} multiplies in {', '.join(sorted(kinds)) or 'no tensor core'}")
        wrong += [f"{kernel}: no instance for {mode}" for mode in MODES if counts[mode] == 0]
        print(f"{kernel}: " + ", ".join(f"{count} {mode}" for mode, count in counts.items()))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
