#!/usr/bin/env python3
"""Step times of Refrain and of a PyTorch peer, measured alternately in one run.

Called by against_pytorch.sh. The peer's folder contains reference.py and bench_cpu_gpu.py. For each
line both sides take `--rounds` turns of one step, or of as many as fit 20 ms, after as much warm-up.
The result is the median of the turns, the ratio is peer / ours. The peer runs every listed setting,
and the fastest counts. On a GPU both sides run step by step and as a captured CUDA graph of the
whole step, and the faster counts; `sides` in the JSON has all of them. floor_ms: counted
multiply-adds divided by the product rate of this machine in a large product of the same arithmetic.
Both sides use Adam over whole tables: the peer has no row-sparse gradients, and ours are converted
to dense ones, also with the sampled loss.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace


MODELS = ("nextitnet", "peterrec", "srmn", "cmnrec")


@dataclass
class Line:
    """One comparison.  channels: C, or H = W = 2 E of a memory network; slots: chunks and memory words."""
    model: str
    mode: str
    batch: int
    time: int
    channels: int
    loss: str = "full"
    slots: int = 0

    @property
    def memory_network(self):
        return self.model in ("srmn", "cmnrec")


def conv_lines(batch, quick):
    shapes = [(20, 64), (50, 64)] if quick else [(20, 64), (50, 64), (20, 256), (50, 256)]
    for time_steps, channels in shapes:
        for model in ("nextitnet", "peterrec-serial", "peterrec-parallel"):
            for mode in ("train", "infer"):
                yield Line(model, mode, batch, time_steps, channels)
    for model in ("nextitnet", "peterrec-serial"):
        yield Line(model, "infer", 1, 50, 64)


def memory_lines(batch, quick):
    shapes = [(10, 3), (50, 9)] if quick else [(10, 3), (50, 9), (100, 12)]
    for time_steps, slots in shapes:
        for mode, loss in (("train", "full"), ("train", "sampled"), ("infer", "none")):
            for model in ("srmn", "cmnrec"):
                yield Line(model, mode, batch, time_steps, 256, loss, slots)
    for model in ("srmn", "cmnrec"):
        yield Line(model, "infer", 1, 50, 256, "none", 9)


def conv_flops(line, items, blocks=8):
    """Required multiplications and additions of one step, without recomputation."""
    channels = line.channels
    rows = line.batch * line.time
    conv = 2 * blocks * 2 * 3 * channels * channels * rows
    patch = 2 * blocks * 2 * 2 * channels * (channels // 4) * rows
    if line.model == "nextitnet":
        scored = rows if line.mode == "train" else line.batch
        head = 2 * scored * items * channels
        return 3 * (conv + head) if line.mode == "train" else conv + head
    head = 2 * line.batch * items * channels
    forward = conv + patch + head
    # Frozen convolutions propagate gradients (one more product), patches and head are trained (two more).
    return forward + conv + 2 * patch + 2 * head if line.mode == "train" else forward


class Ours:
    def __init__(self, program, line, items, recorded=False):
        self.name = "ours recorded" if recorded else "ours"
        mode = "train-sampled" if line.loss == "sampled" else line.mode
        command = [program, line.model, mode, *map(str, (line.batch, line.time, line.channels, items, line.slots))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "REFRAIN_RECORDED": str(int(recorded))})

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


def make_recordable(torch):
    """Replaces torch's product of elements by one whose backward pass does not wait for the GPU to test for zeros."""
    def cumprod(x, dim):
        return x.clamp_min(1e-30).log().cumsum(dim).exp()

    def prod(x, dim):
        return x.squeeze(dim) if x.shape[dim] == 1 else x.clamp_min(1e-30).log().sum(dim).exp()
    torch.cumprod, torch.prod = cumprod, prod


def captured(torch, step):
    """A step as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step()

    def replay():
        graph.replay()
        return kept
    replay.step = step  # keeps the tensors that the graph reads
    return replay


class Peer:
    """One model of the peer in one setting; how: "", "compiled" or, on a GPU, "graph"."""

    def __init__(self, torch, peer, line, items, setting, device="cpu", how="", bf16=False):
        kind, _, adapter = line.model.partition("-")
        settings = SimpleNamespace(seed=0, batch=line.batch, time=line.time, items=items, model=kind,
                                   sampled=items // 10 if line.loss == "sampled" else 0, sampler="log_uniform",
                                   dilations="1,4,1,4,1,4,1,4", noncausal=False, channels=line.channels, conv=setting,
                                   classes=items, adapter=adapter or "serial", head="softmax", train_ln2=False,
                                   controller="lstm", schedule="tsc", variant="alg1", embed=line.channels // 2,
                                   hidden=line.channels, words=line.slots, word_size=line.channels, slots=line.slots,
                                   heads=1, attn=64, explicit=setting == "explicit")
        module, loss, infer = peer.build(settings, torch.device(device))
        if line.mode == "train":
            trained = [p for p in module.parameters() if p.requires_grad]
            try:
                optimizer = torch.optim.Adam(trained, lr=1e-3, fused=True, capturable=device == "cuda")
            except (TypeError, RuntimeError):
                optimizer = torch.optim.Adam(trained, lr=1e-3)

            def step():
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device, torch.bfloat16, enabled=bf16):
                    value = loss()
                value.backward()
                optimizer.step()
        else:
            module.eval()

            no_gradients = torch.no_grad if how == "compiled" else torch.inference_mode  # the compiler refuses inference tensors

            def step():
                with no_gradients(), torch.autocast(device, torch.bfloat16, enabled=bf16):
                    return infer()  # the compiler removes unused results
        if how == "compiled":
            step = torch.compile(step, mode="reduce-overhead") if device == "cuda" else torch.compile(step)
        self.run = captured(torch, step) if how == "graph" else step
        self.name = f"{setting} {how}".strip()
        self.finish = torch.cuda.synchronize if device == "cuda" else lambda: None

    def step(self):
        begin = time.perf_counter()
        self.run()
        self.finish()
        return 1e3 * (time.perf_counter() - begin)


TURN_MS = 20  # short steps are repeated in a turn: at least this long for warm-up, and as long for the timing


def steps_for(side, milliseconds):
    """Times of the steps that fit the milliseconds, at least one."""
    times = []
    while not times or sum(times) < milliseconds:
        times.append(side.step())
    return times


def print_failure(name, error):
    first = error.__context__ or error
    print(f"  {name}: {type(first).__name__}: {(str(first).splitlines() or [''])[0][:150]}", flush=True)


def make_peers(torch, peer, line, options):
    """The peer in every setting that works."""
    on_gpu = options.device == "cuda"
    settings = ("fast", "explicit") if line.memory_network else ("conv1d", "taps")
    ways = [""] + ["compiled"] * options.compiled + ["graph"] * on_gpu
    peers = []
    for setting in settings:
        for how in ways:
            try:
                peers.append(Peer(torch, peer, line, options.items, setting, options.device, how, options.math == "bf16"))
            except Exception as error:  # a step that cannot be captured is omitted
                if how != "graph":
                    raise
                print_failure(f"{setting} {how}", error)
    return peers


def measure(sides, rounds, pause):
    """Median milliseconds of each side, by name."""
    for side in list(sides):
        try:
            side.step()
            side.step()
        except Exception as error:  # settings that torch.compile or a capture refuses are omitted
            if "compiled" not in side.name and "recorded" not in side.name:
                raise
            print_failure(side.name, error)
            sides.remove(side)
    times = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            time.sleep(pause)  # the other side's threads stop spinning
            steps_for(side, TURN_MS)  # warm up this side's threads and caches
            times[side.name].append(statistics.median(steps_for(side, TURN_MS)))
    return {name: statistics.median(taken) for name, taken in times.items()}


def product_rate(torch, device, dtype):
    """GFLOP/s of a large product, the peak for floor_ms."""
    size = 8192 if device == "cuda" else 2048
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        begin = time.perf_counter()
        a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best / 1e9


MEMORY_LINE = Line("nextitnet", "train", 128, 20, 64)
MEMORY_ITEMS = 100_000


def peak_mib(pid="self"):
    """Peak resident size of a process, in MiB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def print_peer_memory(options):
    """In a separate process: memory that two training steps of the peer add to an idle process."""
    import torch
    import bench_cpu_gpu as peer
    torch.set_num_threads(options.threads)
    before = peak_mib()
    step = Peer(torch, peer, MEMORY_LINE, MEMORY_ITEMS, "taps")
    step.step()
    step.step()
    print(peak_mib() - before)


def compare_memory(options):
    """Peak memory of a training step over many items, each side in a separate process."""
    ours = Ours(options.program, MEMORY_LINE, MEMORY_ITEMS)
    ours.step()
    ours.step()
    ours_mib = peak_mib(ours.process.pid)
    ours.close()
    command = [sys.executable, __file__, "--peers", options.peers, "--program", options.program, "--peer-memory"]
    peer_mib = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"peak memory, {MEMORY_LINE.model} training step, B {MEMORY_LINE.batch}, T {MEMORY_LINE.time}, C {MEMORY_LINE.channels}, "
          f"V {MEMORY_ITEMS}: ours {ours_mib:.0f} MiB (whole process), peer {peer_mib:.0f} MiB (above an idle process)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", required=True, help="folder with reference.py and bench_cpu_gpu.py")
    parser.add_argument("--program", required=True, help="the built step_timer")
    parser.add_argument("--json", help="write the lines as a JSON array")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--items", type=int, default=10670)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", help="comma-separated: " + ",".join(MODELS) + " (default: all)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where both sides compute")
    parser.add_argument("--compiled", action="store_true", help="the peer also under torch.compile (on a GPU with CUDA graphs)")
    parser.add_argument("--math", choices=("exact", "tf32", "bf16"), default="exact",
                        help="on a GPU: float32 products as they are, by tf32, or by bf16 (the peer then under autocast)")
    parser.add_argument("--quick", action="store_true", help="C = 64 and T <= 50 alone")
    parser.add_argument("--time", type=int, help="only lines with this T")
    parser.add_argument("--channels", type=int, help="only lines with this C")
    parser.add_argument("--peer-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    models = options.models.split(",") if options.models else MODELS
    if unknown := sorted(set(models) - set(MODELS)):
        parser.error(f"--models: unknown {', '.join(unknown)}; expected some of {', '.join(MODELS)}")
    os.environ["REFRAIN_THREADS"] = str(options.threads)
    os.environ["REFRAIN_DEVICE"] = options.device
    os.environ["REFRAIN_MATH"] = options.math
    on_gpu = options.device == "cuda"
    if options.math != "exact" and not on_gpu:
        parser.error("--math: expected exact for a CPU")
    sys.path.insert(0, options.peers)
    if options.peer_memory:
        return print_peer_memory(options)
    import torch
    import bench_cpu_gpu as peer
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    if on_gpu:
        make_recordable(torch)
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        backend.allow_tf32 = options.math != "exact"
    rate = product_rate(torch, options.device, torch.bfloat16 if options.math == "bf16" else torch.float32)
    where = f"{torch.cuda.get_device_name()}, {options.math}" if on_gpu else f"{options.threads} threads, {platform.machine()}"
    print(f"torch {torch.__version__}, {where}, product rate {rate:.0f} GFLOP/s")
    print(f"{'model':<18}{'mode':<7}{'loss':<8}{'B':>4}{'T':>4}{'C':>5}{'m':>4}{'ours ms':>10}{'peer ms':>10}{'ratio':>7}"
          f"{'floor ms':>10}  peer setting")
    results = []
    for line in [*conv_lines(options.batch, options.quick), *memory_lines(options.batch, options.quick)]:
        model, _, insertion = line.model.partition("-")
        wanted = {"time": options.time, "channels": options.channels}
        if model not in models or any(value not in (None, getattr(line, key)) for key, value in wanted.items()):
            continue
        ours = [Ours(options.program, line, options.items, recorded) for recorded in ((False, True) if on_gpu else (False,))]
        if options.compiled:
            torch._dynamo.reset()  # the compiler stops after several versions of one function
        sides = measure(ours + make_peers(torch, peer, line, options), options.rounds, 0 if on_gpu else 0.25)
        ours_ms = min(ms for name, ms in sides.items() if name.startswith("ours"))
        name, peer_ms = min(((name, ms) for name, ms in sides.items() if not name.startswith("ours")), key=lambda side: side[1])
        flops = ours[0].ask("flops") if line.memory_network else conv_flops(line, options.items)
        for side in ours:
            side.close()
        floor_ms = flops / rate / 1e6
        print(f"{line.model:<18}{line.mode:<7}{line.loss:<8}{line.batch:>4}{line.time:>4}{line.channels:>5}{line.slots or '-':>4}"
              f"{ours_ms:>10.3f}{peer_ms:>10.3f}{peer_ms / ours_ms:>7.2f}{floor_ms:>10.3f}  {name}", flush=True)
        results.append({"model": model, "insertion": insertion or None, "mode": line.mode, "loss": line.loss,
                        "batch": line.batch, "time": line.time, "channels": line.channels, "items": options.items,
                        "slots": line.slots or None, "ours_ms": ours_ms, "peer_ms": peer_ms, "ratio": peer_ms / ours_ms,
                        "gflop": flops / 1e9, "floor_ms": floor_ms, "peer_setting": name, "sides": sides})
        if on_gpu:
            results[-1]["math"] = options.math
        if options.json:
            with open(options.json, "w") as file:
                json.dump(results, file, indent=1)
                file.write("\n")
    if not on_gpu and sys.platform == "linux":
        compare_memory(options)


if __name__ == "__main__":
    main()
