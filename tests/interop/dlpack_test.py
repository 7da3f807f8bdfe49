"""DLPack with a real other side:  dlpack_test.py LIBRARY numpy|torch"""

import array
import gc
import sys
import unittest
import weakref

import exchange

NAMES = {"f32": "float32", "f64": "float64", "i32": "int32", "i64": "int64"}


class NumpySide:
    def __init__(self):
        import numpy

        self.module = numpy

    def from_refrain(self, tensor):
        return self.module.from_dlpack(tensor)

    def address(self, x):
        return x.ctypes.data

    def on(self, memory, dtype):
        return self.module.frombuffer(memory, dtype=NAMES[dtype])


class TorchSide:
    def __init__(self):
        import torch

        self.module = torch
        torch.set_num_threads(1)

    def from_refrain(self, tensor):
        return self.module.from_dlpack(tensor)

    def address(self, x):
        return x.data_ptr()

    def on(self, memory, dtype):
        return self.module.frombuffer(memory, dtype=getattr(self.module, NAMES[dtype]))


class OldCapsules:
    """A tensor whose capsules are the unversioned ones, whatever the consumer understands."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, **_):
        return self.tensor.__dlpack__()


class Dlpack(unittest.TestCase):
    def test_out_every_element_type_and_shape(self):
        for dtype in exchange.DTYPES:
            for shape in ((6,), (2, 3), (1, 2, 1, 3), (3, 0, 2), ()):
                for wrap in (lambda tensor: tensor, OldCapsules):
                    with self.subTest(dtype=dtype, shape=shape, capsule=wrap.__name__):
                        tensor = refrain.counted(dtype, shape)
                        x = side.from_refrain(wrap(tensor))
                        self.assertIn(NAMES[dtype], str(x.dtype))
                        self.assertEqual(tuple(x.shape), shape)
                        count = 1
                        for extent in shape:
                            count *= extent
                        self.assertEqual(x.reshape(-1).tolist(), list(range(count)))

    def test_out_shares_elements_and_ownership(self):
        for wrap in (lambda tensor: tensor, OldCapsules):
            with self.subTest(capsule=wrap.__name__):
                tensor = refrain.counted("f32", (4,))
                x = side.from_refrain(wrap(tensor))
                self.assertEqual(side.address(x), tensor.address)
                tensor.fill(8)
                self.assertEqual(x.tolist(), [8, 8, 8, 8])
                self.assertFalse(tensor.unique)
                y = x[1:]
                del x
                gc.collect()
                self.assertFalse(tensor.unique)
                del y
                gc.collect()
                self.assertTrue(tensor.unique)
                x = side.from_refrain(wrap(tensor))
                del tensor
                gc.collect()
                self.assertEqual(x.tolist(), [8, 8, 8, 8])

    def test_a_capsule_that_nobody_takes_gives_its_tensor_back(self):
        for max_version in (None, (1, 0)):
            tensor = refrain.counted("f64", (3,))
            capsule = tensor.__dlpack__(max_version=max_version)
            self.assertFalse(tensor.unique)
            del capsule
            self.assertTrue(tensor.unique)

    def test_in_shares_elements_and_ownership(self):
        for versioned in (True, False):
            with self.subTest(versioned=versioned):
                memory = array.array("f", [1, 2, 3, 4, 5, 6])
                alive = weakref.ref(memory)
                x = side.on(memory, "f32").reshape(2, 3)
                tensor = refrain.take(x, versioned)
                self.assertEqual(tensor.address, side.address(x))
                tensor.fill(7)
                self.assertEqual(x.tolist(), [[7, 7, 7], [7, 7, 7]])
                del x, memory
                gc.collect()
                self.assertIsNotNone(alive())
                del tensor
                gc.collect()
                self.assertIsNone(alive())

    def test_in_and_out_again(self):
        for dtype, code in (("f32", "f"), ("f64", "d"), ("i32", "i"), ("i64", "q")):
            with self.subTest(dtype=dtype):
                x = side.on(array.array(code, range(12)), dtype).reshape(3, 4)[1:]  # begins inside its memory
                back = side.from_refrain(refrain.take(x))
                self.assertEqual(back.tolist(), [[4, 5, 6, 7], [8, 9, 10, 11]])
                self.assertEqual(back.dtype, x.dtype)

    def test_in_refuses_gaps_and_other_types(self):
        memory = array.array("f", range(6))
        x = side.on(memory, "f32").reshape(2, 3)
        for wrong, message in (
            (x.T, "contiguous"),
            (x[:, :2], "contiguous"),
            (side.module.zeros(3, dtype=side.module.float16), "16 bits"),
            (side.module.zeros((1,) * 7, dtype=side.module.float32), "rank"),
        ):
            with self.subTest(message=message):
                with self.assertRaisesRegex(RuntimeError, message):
                    refrain.take(wrong)
        alive = weakref.ref(memory)
        del memory, x, wrong
        gc.collect()
        self.assertIsNone(alive())

    def test_read_only(self):
        if not isinstance(side, NumpySide):
            self.skipTest("PyTorch has no read-only tensors")
        x = side.module.arange(3, dtype="float32")
        if not exchange.knows_versions(x):
            self.skipTest("this NumPy has no versioned capsules, and no flag without them")
        x.flags.writeable = False
        with self.assertRaisesRegex(RuntimeError, "read-only"):
            refrain.take(x)
        copy = refrain.take(x, copy=True)
        self.assertNotEqual(copy.address, side.address(x))
        copy.fill(5)
        self.assertEqual(x.tolist(), [0, 1, 2])
        copy.read_only = True
        self.assertFalse(side.from_refrain(copy).flags.writeable)
        copy.read_only = False
        self.assertTrue(side.from_refrain(copy).flags.writeable)


if __name__ == "__main__":
    library, other = sys.argv[1:]
    exchange.skip_without(other)
    side = {"numpy": NumpySide, "torch": TorchSide}[other]()
    refrain = exchange.Refrain(library)
    unittest.main(argv=sys.argv[:1])
