"""RecBole's networks in ours, and the comparison with RecBole:  recbole_test.py LIBRARY load_recbole cmnrec numpy|recbole

numpy: networks with random weights, whose scores are computed here as RecBole computes them; the ranks and tables of
bench/against_recbole.py. recbole: checkpoints that RecBole trained, against its full_sort_predict; bench/against_recbole.py from
end to end.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest
from types import SimpleNamespace

import exchange

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "examples" / "interop"), str(ROOT / "bench")]

ITEMS, LENGTH = 30, 9  # items of the tests, the padding included; MAX_ITEM_LIST_LENGTH
SIZES = ("--length", str(LENGTH), "--embedding", "8", "--hidden", "12", "--peer-batch", "64", "--batch", "16", "--threads", "1")
HISTORIES = ([5], [29, 1, 1, 7], list(range(1, 10)), list(range(1, 24)))


def recommended(path, history):
    """Item -> score of all items."""
    run = subprocess.run([program, path, str(ITEMS), *map(str, history)], capture_output=True, text=True, check=False,
                         stdin=subprocess.DEVNULL)
    if run.returncode != 0:
        raise AssertionError(run.stderr)
    lines = [line.split() for line in run.stdout.splitlines()]
    return {int(item): float(score) for item, score in lines}


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = self.folder / "weights.safetensors"

    def assert_scores(self, history, expected, items=ITEMS):
        """expected [items]: the scores of all items; the padding is not recommended."""
        got = recommended(self.path, history)
        self.assertEqual(sorted(got), list(range(1, items)))
        scale = max(1, np.abs(expected).max())
        for item, score in got.items():
            self.assertLess(abs(score - expected[item]), 2e-5 * scale, f"item {item} after {history}")
        self.assertGreater(np.ptp(expected[1:]), 1e-2 * scale)  # scores differ


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru4rec_scores(state, history):
    """As RecBole: the newest LENGTH items, GRU layers without biases, dense, the item table."""
    x = state["item_embedding.weight"][history[-LENGTH:]].astype(np.float64)
    layer = 0
    while f"gru_layers.weight_ih_l{layer}" in state:
        w_x, w_h = state[f"gru_layers.weight_ih_l{layer}"], state[f"gru_layers.weight_hh_l{layer}"]
        h, out = np.zeros(w_h.shape[1]), []
        for step in x:
            (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(w_x @ step, 3), np.split(w_h @ h, 3)
            r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
            h = (1 - z) * np.tanh(n_x + r * n_h) + z * h
            out.append(h)
        x, layer = np.array(out), layer + 1
    return state["item_embedding.weight"] @ (state["dense.weight"] @ x[-1] + state["dense.bias"])


def nextitnet_scores(state, dilations, history):
    """As RecBole: zeros behind the items, blocks (b), the last time step, the final layer, the item table."""

    def convolved(layer, x, dilation):
        weight, bias = state[layer + ".weight"], state[layer + ".bias"]
        taps, out = weight.shape[3], np.tile(bias.astype(np.float64), (len(x), 1))
        for t in range(len(x)):
            for tap in range(taps):
                source = t - (taps - 1 - tap) * dilation
                if source >= 0:
                    out[t] += weight[:, :, 0, tap] @ x[source]
        return out

    def normalized(layer, x):
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-8)
        return np.maximum(0, scaled * state[layer + ".weight"] + state[layer + ".bias"])

    newest = history[-LENGTH:]
    x = state["item_embedding.weight"][newest + [0] * (LENGTH - len(newest))].astype(np.float64)
    for k, dilation in enumerate(dilations):
        block = f"residual_blocks.{k}."
        h = normalized(block + "ln1", convolved(block + "conv1", x, dilation))
        x = x + normalized(block + "ln2", convolved(block + "conv2", h, 2 * dilation))
    return state["item_embedding.weight"] @ (state["final_layer.weight"] @ x[-1] + state["final_layer.bias"])


class WithoutRecBole(InFolder):
    def draw(self, shapes, seed):
        generator = np.random.default_rng(seed)
        return {name: generator.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}

    def test_gru4rec(self):
        for embedding, hidden, layers in ((6, 6, 1), (6, 10, 1), (5, 4, 2)):
            shapes = {"item_embedding.weight": (ITEMS, embedding)}
            shapes |= {"dense.weight": (embedding, hidden), "dense.bias": (embedding,)}
            for layer in range(layers):
                shapes[f"gru_layers.weight_ih_l{layer}"] = (3 * hidden, hidden if layer else embedding)
                shapes[f"gru_layers.weight_hh_l{layer}"] = (3 * hidden, hidden)
            state = self.draw(shapes, layers)
            from_recbole.save(self.path, "GRU4Rec", state, LENGTH)
            for history in HISTORIES:
                with self.subTest(hidden=hidden, layers=layers, history=history):
                    self.assert_scores(history, gru4rec_scores(state, history))

    def nextitnet(self, channels, taps, dilations):
        shapes = {"item_embedding.weight": (ITEMS, channels)}
        shapes |= {"final_layer.weight": (channels, channels), "final_layer.bias": (channels,)}
        for block in range(len(dilations)):
            for half in (1, 2):
                shapes[f"residual_blocks.{block}.conv{half}.weight"] = (channels, channels, 1, taps)
                shapes[f"residual_blocks.{block}.conv{half}.bias"] = (channels,)
                shapes[f"residual_blocks.{block}.ln{half}.weight"] = (channels,)
                shapes[f"residual_blocks.{block}.ln{half}.bias"] = (channels,)
        return self.draw(shapes, taps)

    def test_nextitnet(self):
        for taps, dilations in ((3, (1, 2)), (2, (1, 4, 1))):
            state = self.nextitnet(6, taps, dilations)
            from_recbole.save(self.path, "NextItNet", state, LENGTH, dilations)
            for history in HISTORIES:
                with self.subTest(taps=taps, history=history):
                    self.assert_scores(history, nextitnet_scores(state, dilations, history))

    def refusal(self, *arguments):
        run = subprocess.run([program, self.path, *arguments], capture_output=True, text=True, check=False,
                             stdin=subprocess.DEVNULL)
        self.assertEqual(run.returncode, 1)
        return run.stderr

    def test_errors(self):
        state = self.nextitnet(4, 3, (1,))
        from_recbole.save(self.path, "NextItNet", state, LENGTH, (1, 1))
        self.assertIn("blocks.1.conv1.weight", self.refusal("5", "1"))
        from_recbole.save(self.path, "NextItNet", state, LENGTH, (1,))
        self.assertIn("ITEM: expected 1 to 29, got 0", self.refusal("5", "0"))
        self.assertIn("ITEM: expected 1 to 29, got 30", self.refusal("5", "30"))
        self.assertIn("COUNT: expected 1 or more, got 0", self.refusal("0", "1"))
        from_recbole.save(self.path, "NextItNet", state, 0, (1,))
        self.assertIn("expected a length above 0, got 0", self.refusal("5", "1"))
        with self.assertRaisesRegex(ValueError, "got SASRec"):
            from_recbole.save(self.path, "SASRec", state, LENGTH)

    def test_ranks(self):
        scores = np.array([[9, 1, 3, 2, 3], [9, 4, 4, 4, 0]], dtype=np.float32)
        targets = np.array([3, 2])
        self.assertEqual(comparison.ranks_of(scores, targets, [[0], [0]]), [(3, 0), (1, 2)])
        self.assertEqual(comparison.ranks_of(scores, targets, [[0, 4], [0, 1]]), [(2, 0), (1, 1)])
        self.assertEqual(comparison.ranks_of(scores, targets, [[0, 3], [0]])[0], (3, 0))  # a seen target is ranked
        with self.assertRaisesRegex(ValueError, "finite"):
            comparison.ranks_of(np.full((1, 3), np.nan), np.array([1]), [[0]])

    def test_files(self):
        data = self.folder / "data.txt"
        data.write_text("a 5 6 7\nb 6 6 8 5\n", encoding="utf-8")
        sequences = comparison.read_sequences(data)
        self.assertEqual(sequences, [("a", ["5", "6", "7"]), ("b", ["6", "6", "8", "5"])])
        comparison.write_atomic(sequences, self.folder, "name")
        lines = (self.folder / "name" / "name.inter").read_text(encoding="utf-8").splitlines()
        self.assertEqual(lines[:4], ["user_id:token\titem_id:token\ttimestamp:float", "a\t5\t0", "a\t6\t1", "a\t7\t2"])
        self.assertEqual(len(lines), 8)
        for text, message in (("a 1 2\n", "line 1: expected a user and at least three items, got 2"),
                              ("a 1 2 3\na 1 2 3\n", "line 2: the user a has an earlier line"), ("", "got none")):
            data.write_text(text, encoding="utf-8")
            with self.assertRaisesRegex(comparison.InputError, message):
                comparison.read_sequences(data)

    def test_table(self):
        figures = {metric: 0.125 for metric in comparison.METRICS}
        line = {"data": "d", "model": "GRU4Rec", "side": "RecBole", "batch": 2048, "stopping": "own", "examples_per_epoch": 1234,
                "epochs": 20, "best_epoch": 10, "seconds_per_epoch": 2.0,
                "figures": {comparison.FULL: figures, comparison.UNSEEN: figures}}
        rows = comparison.table([line, {**line, "seconds_per_epoch": 4.0}, {**line, "side": "Refrain"}]).splitlines()
        self.assertEqual(len(rows), 4)
        self.assertIn("| d | GRU4Rec, RecBole | 2048 | 1,234 prefixes | 20 (10) | 3.00 | 0.1250 |", rows[2])
        self.assertIn("1,234 sequences", rows[3])


def generated_sequences(path, users=60):
    """Walks around a circle of items with some steps of two: the next item depends on the last one."""
    draw = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for user in range(1, users + 1):
            item, items = draw.randrange(ITEMS - 1), []
            for _ in range(draw.randrange(4, 14)):
                item = (item + draw.choice((1, 1, 1, 2))) % (ITEMS - 1)
                items.append(f"i{item}")
            file.write(f"u{user} {' '.join(items)}\n")


class WithRecBole(InFolder):
    def options(self, *more):
        data = self.folder / "sequences.txt"
        generated_sequences(data)
        return comparison.parse(["--data", str(data), "--program", cmnrec, *SIZES, "--epochs", "3", "--stopping", "equal", *more])

    def test_a_trained_checkpoint(self):
        for model in ("gru4rec", "nextitnet"):
            checkpoint = self.folder / f"{model}.pth"
            comparison.run_recbole(model, self.options("--checkpoint", str(checkpoint)))
            saved = torch.load(checkpoint, weights_only=False)
            state = saved["state_dict"]
            torch.manual_seed(2)
            for value in state.values():  # no weight is at the value that it starts from
                value.add_(torch.randn_like(value) * 0.3)
            torch.save(saved, checkpoint)
            items = len(state["item_embedding.weight"])
            self.assertEqual(items, ITEMS)
            config = saved["config"]
            network = comparison.recbole_model(model, config, SimpleNamespace(num=lambda field: items))
            network.load_state_dict(state)
            network.eval()
            run = subprocess.run([sys.executable, ROOT / "examples/interop/from_recbole.py", checkpoint, self.path],
                                 capture_output=True, text=True, check=False)
            self.assertEqual(run.returncode, 0, run.stderr)
            for history in HISTORIES:
                with self.subTest(model=model, history=history):
                    newest = history[-LENGTH:]
                    row = torch.tensor([newest + [0] * (LENGTH - len(newest))])
                    interaction = {"item_id_list": row, "item_length": torch.tensor([len(newest)])}
                    with torch.no_grad():
                        expected = network.full_sort_predict(interaction).view(-1).numpy()
                    self.assert_scores(history, expected)

    def test_padding_on_the_left(self):
        options = self.options()
        with tempfile.TemporaryDirectory() as folder:
            comparison.write_atomic(comparison.read_sequences(options.data), folder, "sequences")
            config = comparison.recbole_config("nextitnet-left", folder, "sequences", options)
        dataset = SimpleNamespace(num=lambda field: ITEMS)
        torch.manual_seed(3)
        left = comparison.recbole_model("nextitnet-left", config, dataset)
        plain = comparison.recbole_model("nextitnet", config, dataset)
        plain.load_state_dict(left.state_dict())
        with torch.no_grad():
            self.assertTrue(torch.equal(left(torch.tensor([[4, 5, 0, 0]])), plain(torch.tensor([[0, 0, 4, 5]]))))

    def test_end_to_end(self):
        options = self.options()
        lines, ranks = self.folder / "lines.jsonl", self.folder / "ranks.jsonl"
        more = ["--json", str(lines), "--ranks", str(ranks)]
        command = [sys.executable, "-W", "ignore", ROOT / "bench/against_recbole.py", "--data", options.data, "--program", cmnrec]
        run = subprocess.run([*command, *SIZES, "--epochs", "2", *more], capture_output=True, text=True, check=False,
                             stdin=subprocess.DEVNULL)
        self.assertEqual(run.returncode, 0, run.stderr)
        results = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
        self.assertEqual([(line["model"], line["side"]) for line in results],
                         [("GRU4Rec", "Refrain"), ("GRU4Rec", "RecBole"), ("NextItNet", "Refrain"), ("NextItNet", "RecBole"),
                          ("NextItNet, padded on the left", "RecBole")])
        for line in results:
            self.assertEqual(line["test_users"], 60)
            if line["side"] == "RecBole":  # without ties RecBole's own figures are equal
                for metric, value in line["peer_figures"].items():
                    self.assertAlmostEqual(line["figures"][comparison.FULL][metric], value, delta=1e-6)
        self.assertEqual(len(ranks.read_text(encoding="utf-8").splitlines()), 2 * 60 * len(results))
        self.assertEqual(len(comparison.table(results).splitlines()), 2 + len(results))


if __name__ == "__main__":
    _, program, cmnrec, part = sys.argv[1:]
    exchange.skip_without("numpy", "safetensors", *(("torch", "recbole") if part == "recbole" else ()))
    import against_recbole as comparison
    import from_recbole
    import numpy as np

    if part == "recbole":
        import torch

        torch.set_num_threads(1)
        del WithoutRecBole
    else:
        del WithRecBole
    unittest.main(argv=sys.argv[:1])
