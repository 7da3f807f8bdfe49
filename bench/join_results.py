#!/usr/bin/env python3
"""Joins outputs of Google Benchmark into one JSON array: bench/join_results.py FILE SUITE=PART...
(called by run.sh)

An element: {suite, name, threads, ms, gflops, gbytes, share, mib, cpu_isa, ceiling_gflops,
ceiling_gbytes}; values that a benchmark does not count are null.
"""
import json
import sys


def lines_of(suite, path):
    with open(path) as file:
        part = json.load(file)
    context = part["context"]
    ceilings = float(context["ceiling_GFLOP/s"]), float(context["ceiling_GB/s"])
    for run in part["benchmarks"]:
        if run.get("error_occurred"):
            sys.exit(f"join_results: {run['name']}: {run['error_message']}")
        rates = run.get("GFLOP"), run.get("GB")
        shares = [rate / ceiling for rate, ceiling in zip(rates, ceilings) if rate is not None]
        yield {"suite": suite, "name": run["name"].removesuffix("/real_time"), "threads": int(context["threads"]),
               "ms": run["real_time"], "gflops": rates[0], "gbytes": rates[1], "share": max(shares, default=None),
               "mib": run.get("MiB"), "cpu_isa": context["cpu_isa"], "ceiling_gflops": ceilings[0], "ceiling_gbytes": ceilings[1]}


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    lines = [line for argument in sys.argv[2:] for line in lines_of(*argument.split("=", 1))]
    with open(sys.argv[1], "w") as file:
        json.dump(lines, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
