#!/usr/bin/env python3
"""Checks the direction of includes.

    examples, bench, tests -> server -> serve
    examples, bench, tests -> refrain_models -> serve, train -> data, nn -> ops -> autograd
                                                              -> kernels (contracts) -> core
    train    -> distributed -> core
    kernels/ -> contracts, core, kernels/ (its families in the order of FAMILIES)
    src/     -> every public header, kernels/, src/

Public headers include neither kernels/ nor src/ nor third-party libraries; only kernels/matmul uses
Eigen, only src/mpi MPI, only src/nccl NCCL, only src/server
Boost and SQLite.
Usage: tests/checks/arrows.py [repository root]
"""

import pathlib
import re
import sys

ROOMS = {  # folder of include/refrain/ -> folders it may include
    "core": {"core"},
    "distributed": {"core", "distributed"},
    "kernels": {"core", "kernels"},
    "autograd": {"core", "kernels", "autograd"},
    "ops": {"core", "kernels", "autograd", "ops"},
    "nn": {"core", "kernels", "autograd", "ops", "nn"},
    "data": {"core", "kernels", "autograd", "ops", "data"},
    "train": {"core", "distributed", "kernels", "autograd", "ops", "nn", "data", "train"},
    "serve": {"core", "kernels", "autograd", "ops", "nn", "data", "serve"},
    "server": {"core", "kernels", "autograd", "ops", "nn", "data", "serve", "server"},
}
EVERY_ROOM = set(ROOMS)

# Family of kernels, a folder under kernels/ -> families it may include. Files of kernels/ itself (simt.hpp, simd.hpp, scratch.hpp, ...)
# are below all families; each family is below those that include it, so that there are no cycles.
FAMILIES = {
    "tiling": set(),
    "pointwise": {"tiling"},
    "gather": {"tiling"},
    "layer_norm": {"tiling"},
    "matmul": {"tiling"},
    "optimizer": {"tiling"},
    "replace_rows": {"tiling"},
    "steps": {"tiling"},
    "sum_rows": {"tiling"},
    "top_k": {"tiling"},
    "chunk_attention": {"tiling", "matmul"},
    "loss": {"tiling", "pointwise", "matmul"},
    "memory": {"tiling", "pointwise"},
    "recurrent": {"tiling", "pointwise", "matmul"},
    "causal_conv": {"tiling", "pointwise", "matmul"},
    "patch": {"tiling", "pointwise", "matmul", "causal_conv"},
    "conv_norm": {"tiling", "pointwise", "matmul", "layer_norm", "causal_conv", "patch"},
}

# folder -> (public rooms, repository folders, third-party prefixes) it may include; the longest matching folder counts.
FOLDERS = {
    "kernels": ({"core", "kernels"}, {"kernels"}, ()),
    "kernels/matmul": ({"core", "kernels"}, {"kernels"}, ("Eigen/",)),
    "kernels/simt.hpp": ({"core"}, {"kernels", "support"}, ()),  # support/simt/ replaces the GPU in emulation tests
    "src": (EVERY_ROOM, {"kernels", "src"}, ("nlohmann/",)),
    "src/server": (EVERY_ROOM, {"src"}, ("boost/asio/", "boost/asio.hpp", "boost/beast/")),
    "examples": (EVERY_ROOM, {"refrain_models"}, ("CLI/", "fmt/", "nlohmann/")),
    "examples/interop": (EVERY_ROOM, {"refrain_models", "interop"}, ("fmt/",)),
    "examples/models": (EVERY_ROOM, {"refrain_models"}, ()),
    "examples/common": (EVERY_ROOM, {"common"}, ("CLI/", "fmt/", "nlohmann/", "toml++/")),
    "examples/peterrec": (EVERY_ROOM, {"refrain_models", "common", "peterrec"}, ("CLI/", "fmt/", "nlohmann/")),
    "examples/cmnrec": (EVERY_ROOM, {"refrain_models", "common", "cmnrec"}, ("CLI/", "fmt/", "nlohmann/")),
    "examples/serve": (EVERY_ROOM, {"refrain_models", "common", "peterrec", "cmnrec", "serve"}, ("CLI/", "fmt/", "nlohmann/")),
    "bench": (EVERY_ROOM, {"refrain_models", "support"}, ("benchmark/",)),
    "bench/gpu_kernels.cpp": (EVERY_ROOM, {"refrain_models", "support"}, ()),
    "tests": (EVERY_ROOM, {"refrain_models", "common", "peterrec", "cmnrec", "serve", "server", "support", "kernels", "src", "cuda", "data", "distributed", "nccl", "train"}, ("catch2/", "nlohmann/")),
    "tests/fuzz": (EVERY_ROOM, {"peterrec", "cmnrec", "serve", "fuzz", "src"}, ("nlohmann/",)),
    "tests/simt": (EVERY_ROOM, {"support", "kernels", "simt"}, ("catch2/",)),
    "tests/support/cudnn": ({"core", "kernels"}, {"kernels", "support"}, ()),
    "tests/support/simt": (EVERY_ROOM, {"kernels", "support"}, ("boost/context/", "sanitizer/")),
}
# CUDA sources may also include the toolkit, and src/ its host side.
CUDA_HEADER = re.compile(r"(cuda(?!/(arena|conv_sizes))|cublas|cudnn|cub/|mma\.h|curand|nvtx3/)")
CUDA_SOURCE = re.compile(r"(\.cu|\.cuh|_cuda\.cpp|_cuda\.hpp|kernels/cuda_check\.hpp|/simt\.hpp)$")

# Search path of quoted includes after the folder of the including file.
SEARCH = ("include", ".", "examples", "examples/models", "tests", "bench")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
STANDARD = re.compile(r"^[a-z_0-9]+$")  # <vector>, <cstdint>
SYSTEM = re.compile(r"^((sys|netinet)/[a-z_]+|[a-z0-9_]+)\.h$")  # <unistd.h>, <immintrin.h>


def public_room(path):
    """<room> of "refrain/<room>/...", None for other paths, "" for refrain/refrain.hpp."""
    parts = path.split("/")
    if parts[0] != "refrain":
        return None
    return parts[1] if len(parts) > 2 else ""


def problem_in_public_header(source, target, quoted):
    if not quoted and STANDARD.match(target):
        return None
    own, room = public_room(source.removeprefix("include/")), public_room(target)
    if room is None:
        return "a public header includes only the standard library and refrain/..."
    if own and room not in ROOMS.get(own, ()):
        return f"{own}/ may not include {room or 'refrain.hpp'}"
    return None


def family(path):
    """<family> of "kernels/<family>/...", None for other paths."""
    parts = path.split("/")
    return parts[1] if parts[0] == "kernels" and len(parts) > 2 else None


def problem_between_families(source, target):
    own, other = family(source), family(target)
    if source.startswith("kernels/") and own is None and other is not None:
        return f"files of kernels/ itself may not include a family ({other}/)"
    if own is None or other is None or own == other or other in FAMILIES.get(own, ()):
        return None
    return f"kernels/{own}/ may not include {other}/"


def problems_of_families(root):
    """Errors of families: undeclared, without a folder, or including one that is declared later."""
    folders = {path.name for path in (root / "kernels").iterdir() if path.is_dir()}
    for name in sorted(folders ^ set(FAMILIES)):
        yield f"kernels/{name}: {'no such folder' if name in FAMILIES else 'no such family'}; known: {', '.join(FAMILIES)}"
    below = set()
    for name, allowed in FAMILIES.items():
        for other in sorted(allowed - below):
            yield f"kernels/{name}/ may include {other}/, which is not declared before it: families are ordered, without cycles"
        below.add(name)


def problem_in_source(source, target, quoted):
    if (why := problem_between_families(source, target)) is not None:
        return why
    folder = max((f for f in FOLDERS if source == f or source.startswith(f + "/")), key=len)
    rooms, folders, third_party = FOLDERS[folder]
    room = public_room(target)
    if room is not None:
        if room in rooms or (room == "" and rooms == EVERY_ROOM):
            return None
        return f"{folder}/ may not include refrain/{room}"
    if CUDA_HEADER.match(target):
        return None if CUDA_SOURCE.search(source) else "only CUDA sources include the CUDA toolkit"
    if target == "mpi.h":
        return None if source.startswith("src/mpi/") else "only src/mpi/, the library refrain::mpi, includes MPI"
    if target == "nccl.h":
        return None if source.startswith("src/nccl/") else "only src/nccl/, the library refrain::nccl, includes NCCL"
    if target == "sqlite3.h":
        return None if source.startswith("src/server/") else "only src/server/, the library refrain::server, includes SQLite"
    if target.startswith(third_party) and third_party:
        return None
    if not quoted:
        return None if STANDARD.match(target) or SYSTEM.match(target) else f"{folder}/ may not include this library"
    if "/" not in target or target.split("/")[0] in folders:
        return None
    return f"{folder}/ may not include {target.split('/')[0]}/"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()
    problems, files = list(problems_of_families(root)), 0
    for top in ("include", *sorted({f.split("/")[0] for f in FOLDERS})):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in {".hpp", ".cpp", ".cu", ".cuh", ".h"}:
                continue
            files += 1
            source = path.relative_to(root).as_posix()
            if source.startswith("tests/consumer/"):  # an outside project
                continue
            room = public_room(source.removeprefix("include/"))
            if top == "include" and (room is None or (room and room not in ROOMS)):
                problems.append(f"{source}: no such room; known: {', '.join(ROOMS)}")
                continue
            check = problem_in_public_header if top == "include" else problem_in_source
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                found = INCLUDE.match(line)
                if not found:
                    continue
                quoted, target = found[1] == '"', found[2]
                why = check(source, target, quoted)
                if why is None and quoted:
                    places = [path.parent, *(root / place for place in SEARCH)]
                    if not any((place / target).is_file() for place in places):
                        why = "no such file in this repository"
                if why:
                    problems.append(f"{source}:{number}: {line.strip()}: {why}")
    for problem in problems:
        print(problem)
    if files == 0:
        print(f"no source files under {root}")
        return 1
    print(f"{files} files, {len(problems)} forbidden includes")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
