#!/usr/bin/env python3
"""Step times of Refrain and of a PyTorch peer, taken in turns in one run.

Called by against_pytorch.sh.  The peer's folder holds reference.py and bench_cpu_gpu.py.  Per line both sides do `--rounds` rounds of
one step each, after warm-up; the figure is the median, the ratio is peer / ours.  The peer runs every listed setting, and the fastest
counts.  floor_ms: multiply-adds counted, over the product rate that this machine reaches in a large float32 product.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace


def lines(batch, quick):
    shapes = [(20, 64), (50, 64)] if quick else [(20, 64), (50, 64), (20, 256), (50, 256)]
    for time_steps, channels in shapes:
        for model in ("nextitnet", "peterrec-serial", "peterrec-parallel"):
            for mode in ("train", "infer"):
                yield model, mode, batch, time_steps, channels
    for model in ("nextitnet", "peterrec-serial"):
        yield model, "infer", 1, 50, 64


def flops(model, mode, batch, steps, channels, items, blocks=8):
    """Multiplications and additions of one step, as the mathematics needs them (nothing recomputed)."""
    rows = batch * steps
    conv = 2 * blocks * 2 * 3 * channels * channels * rows
    patch = 2 * blocks * 2 * 2 * channels * (channels // 4) * rows
    if model == "nextitnet":
        scored = rows if mode == "train" else batch
        head = 2 * scored * items * channels
        return 3 * (conv + head) if mode == "train" else conv + head
    head = 2 * batch * items * channels
    forward = conv + patch + head
    # Frozen convolutions pass gradients on (one more product), patches and head learn (two more).
    return forward + conv + 2 * patch + 2 * head if mode == "train" else forward


class Ours:
    def __init__(self, program, model, mode, batch, steps, channels, items):
        command = [program, model, mode, str(batch), str(steps), str(channels), str(items)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("step_timer ended early")
        return float(answer)

    def step(self):
        return self.ask("step")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Peer:
    """One model of the peer under one setting."""

    def __init__(self, torch, peer, model, mode, batch, steps, channels, items, conv, inference_mode):
        kind, _, adapter = model.partition("-")
        settings = SimpleNamespace(seed=0, batch=batch, time=steps, items=items, model=kind, dilations="1,4,1,4,1,4,1,4",
                                   noncausal=False, channels=channels, conv=conv, classes=items, adapter=adapter or "serial",
                                   head="softmax", train_ln2=False, sampled=0, sampler="log_uniform")
        module, loss, infer = peer.build(settings, torch.device("cpu"))
        if mode == "train":
            trained = [p for p in module.parameters() if p.requires_grad]
            try:
                optimizer = torch.optim.Adam(trained, lr=1e-3, fused=True)
            except (TypeError, RuntimeError):
                optimizer = torch.optim.Adam(trained, lr=1e-3)

            def step():
                optimizer.zero_grad(set_to_none=True)
                value = loss()
                value.backward()
                optimizer.step()
        else:
            module.eval()
            context = torch.inference_mode if inference_mode else torch.no_grad

            def step():
                with context():
                    infer()
        self.run = step
        self.name = conv

    def step(self):
        begin = time.perf_counter()
        self.run()
        return 1e3 * (time.perf_counter() - begin)


def measure(ours, peers, rounds, pause):
    sides = [ours] + peers
    for side in sides:
        side.step()
        side.step()
    times = {id(side): [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            time.sleep(pause)  # the other side's threads stop spinning
            side.step()  # brings this side's threads and caches back
            times[id(side)].append(side.step())
    medians = {id(side): statistics.median(times[id(side)]) for side in sides}
    best = min(peers, key=lambda side: medians[id(side)])
    return medians[id(ours)], medians[id(best)], best.name


def product_rate(torch):
    """GFLOP/s of a large float32 product, the ceiling that floor_ms is counted against."""
    a = torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(8):
        begin = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begin)
    return 2 * 2048**3 / best / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", required=True, help="folder with reference.py and bench_cpu_gpu.py")
    parser.add_argument("--program", required=True, help="the built step_timer")
    parser.add_argument("--json", help="write the lines as a JSON array")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--items", type=int, default=10670)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="C = 64 alone")
    options = parser.parse_args()
    os.environ["REFRAIN_THREADS"] = str(options.threads)
    sys.path.insert(0, options.peers)
    import torch
    import bench_cpu_gpu as peer
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    rate = product_rate(torch)
    print(f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}, product rate {rate:.0f} GFLOP/s")
    print(f"{'model':<18}{'mode':<7}{'B':>4}{'T':>4}{'C':>5}{'ours ms':>10}{'peer ms':>10}{'ratio':>7}{'floor ms':>10}  peer setting")
    results = []
    for model, mode, batch, steps, channels in lines(options.batch, options.quick):
        ours = Ours(options.program, model, mode, batch, steps, channels, options.items)
        settings = ("conv1d", "taps")
        peers = [Peer(torch, peer, model, mode, batch, steps, channels, options.items, conv, True) for conv in settings]
        ours_ms, peer_ms, name = measure(ours, peers, options.rounds, 0.25)
        ours.close()
        floor_ms = flops(model, mode, batch, steps, channels, options.items) / rate / 1e6
        print(f"{model:<18}{mode:<7}{batch:>4}{steps:>4}{channels:>5}{ours_ms:>10.2f}{peer_ms:>10.2f}{peer_ms / ours_ms:>7.2f}"
              f"{floor_ms:>10.2f}  {name}", flush=True)
        results.append({"model": model.partition("-")[0], "insertion": model.partition("-")[2] or None, "mode": mode,
                        "loss": "full", "batch": batch, "time": steps, "channels": channels, "items": options.items,
                        "slots": None, "ours_ms": ours_ms, "peer_ms": peer_ms, "ratio": peer_ms / ours_ms,
                        "floor_ms": floor_ms, "peer_setting": name})
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
