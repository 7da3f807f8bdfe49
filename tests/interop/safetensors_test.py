"""Files between Refrain and Python's safetensors package, both ways:  safetensors_test.py LIBRARY"""

import pathlib
import sys
import tempfile
import unittest

import exchange

NAMES = {"f32": "float32", "f64": "float64", "i32": "int32", "i64": "int64"}


class Safetensors(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "file.safetensors"

    def arrays(self):
        """Every element type, in several shapes, with values that only their own type can hold."""
        random = numpy.random.default_rng(1)
        for dtype, name in NAMES.items():
            for shape in ((5,), (2, 3), (3, 0), (), (1, 2, 3, 2)):
                if name.startswith("float"):
                    x = random.normal(size=shape).astype(name)
                else:
                    limits = numpy.iinfo(name)
                    x = random.integers(limits.min, limits.max, size=shape, dtype=name, endpoint=True)
                yield f"{dtype}.{'x'.join(map(str, shape))}.ä \"quoted\"", numpy.asarray(x)

    def test_python_writes_refrain_reads(self):
        arrays = dict(self.arrays())
        safetensors.numpy.save_file(arrays, self.path, metadata={"text": "ü\n\"x\""})
        for name, expected in arrays.items():
            with self.subTest(name=name):
                got = numpy.from_dlpack(refrain.read(self.path, name))
                self.assertEqual((got.dtype, got.shape), (expected.dtype, expected.shape))
                self.assertEqual(got.tobytes(), expected.tobytes())

    def test_refrain_writes_python_reads(self):
        arrays = dict(self.arrays())
        text = "ü\n\"x\""
        refrain.write(self.path, {name: refrain.take(x) for name, x in arrays.items()}, text)
        with safetensors.safe_open(self.path, framework="numpy") as file:
            self.assertEqual(file.metadata(), {"text": text})
            self.assertEqual(set(file.keys()), set(arrays))
            for name, expected in arrays.items():
                with self.subTest(name=name):
                    got = file.get_tensor(name)
                    self.assertEqual((got.dtype, got.shape), (expected.dtype, expected.shape))
                    self.assertEqual(got.tobytes(), expected.tobytes())

    def test_other_types_are_refused(self):
        safetensors.numpy.save_file({"half": numpy.zeros(3, "float16")}, self.path)
        with self.assertRaisesRegex(RuntimeError, "tensor 'half' expected the dtype F32.*got 'F16'"):
            refrain.read(self.path, "half")


if __name__ == "__main__":
    exchange.skip_without("numpy", "safetensors")
    import numpy
    import safetensors
    import safetensors.numpy

    refrain = exchange.Refrain(sys.argv[1])
    unittest.main(argv=sys.argv[:1])
