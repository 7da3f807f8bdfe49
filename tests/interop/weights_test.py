"""Weights of PyTorch networks in ours, with equal results:  weights_test.py LIBRARY PROGRAM

PROGRAM is examples/interop/load_nextitnet; the network and the translation of its weights are those of the example beside it.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import exchange

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples" / "interop"))


def spread(model):
    """Random weights of an ordinary size everywhere, so that none is at the value that it starts from."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


class Weights(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "weights.safetensors"

    def assert_close(self, got, expected):
        self.assertEqual(got.shape, expected.shape)
        self.assertLess((got - expected).abs().max().item(), 2e-5 * max(1, expected.abs().max().item()))

    def test_nextitnet(self):
        for width, causal in ((3, True), (2, True), (5, True), (3, False), (2, False)):
            with self.subTest(width=width, causal=causal):
                model = spread(pytorch.NextItNet(items=37, channels=12, dilations=(1, 2, 4), width=width, causal=causal))
                pytorch.save(model, self.path)
                ids = torch.randint(0, 37, (3, 11), dtype=torch.int32)
                ours = refrain.take(ids)
                with torch.no_grad():
                    hidden, scores = model.hidden(ids), model(ids)[:, -1]
                got = torch.from_dlpack(refrain.nextitnet(self.path, model.dilations, ours, two_way=not causal))
                self.assert_close(got, hidden)
                got = torch.from_dlpack(refrain.nextitnet(self.path, model.dilations, ours, two_way=not causal, scores=True))
                self.assert_close(got, scores)

    def test_the_example_program(self):
        model = spread(pytorch.NextItNet(items=50, channels=8, dilations=(1, 4)))
        pytorch.save(model, self.path)
        history = [3, 49, 7, 7, 0, 21]
        run = subprocess.run(
            [program, self.path, *map(str, history)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        with torch.no_grad():
            best = model(torch.tensor([history]))[0, -1].topk(5)
        lines = [line.split() for line in run.stdout.splitlines()]
        self.assertEqual([int(item) for item, _ in lines], best.indices.tolist())
        for (_, score), expected in zip(lines, best.values.tolist()):
            self.assertAlmostEqual(float(score), expected, places=4)

    def test_the_example_program_names_what_does_not_fit(self):
        model = pytorch.NextItNet(items=50, channels=8, dilations=(1, 4))
        model.dilations = (1, 4, 1)
        pytorch.save(model, self.path)
        run = subprocess.run([program, self.path, "1"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        self.assertEqual(run.returncode, 1)
        self.assertIn("blocks.2.conv1.weight", run.stderr)

    def test_lstm_and_gru(self):
        for kind, layers in ((torch.nn.LSTM, 1), (torch.nn.LSTM, 2), (torch.nn.GRU, 1), (torch.nn.GRU, 2)):
            with self.subTest(kind=kind.__name__, layers=layers):
                is_lstm = kind is torch.nn.LSTM
                network = spread(kind(6, 8, layers))
                tensors = {}
                for k in range(layers):
                    state = {n.removesuffix(f"_l{k}"): value for n, value in network.named_parameters() if n.endswith(f"_l{k}")}
                    tensors[f"layers.{k}.weight_x"] = state["weight_ih"]
                    tensors[f"layers.{k}.weight_h"] = state["weight_hh"]
                    if is_lstm:
                        tensors[f"layers.{k}.bias"] = state["bias_ih"] + state["bias_hh"]
                    else:
                        tensors[f"layers.{k}.bias"] = state["bias_ih"]
                        tensors[f"layers.{k}.bias_h"] = state["bias_hh"]
                save_file({name: value.detach().contiguous() for name, value in tensors.items()}, self.path)
                x = torch.randn(5, 3, 6)
                with torch.no_grad():
                    expected = network(x)[0]
                self.assert_close(torch.from_dlpack(refrain.recurrent(self.path, is_lstm, refrain.take(x))), expected)

    def test_patch(self):
        down, up = spread(torch.nn.Linear(12, 5)), spread(torch.nn.Linear(5, 12))
        tensors = {"down": down.weight.T, "down_bias": down.bias, "up": up.weight.T, "up_bias": up.bias}
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, self.path)
        x = torch.randn(2, 7, 12)
        with torch.no_grad():
            expected = x + up(torch.nn.functional.gelu(down(x), approximate="tanh"))
        self.assert_close(torch.from_dlpack(refrain.patch(self.path, refrain.take(x))), expected)


if __name__ == "__main__":
    library, program = sys.argv[1:]
    exchange.skip_without("torch", "safetensors")
    import nextitnet_from_pytorch as pytorch
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)

    refrain = exchange.Refrain(library)
    unittest.main(argv=sys.argv[:1])
