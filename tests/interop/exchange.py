"""Refrain's tensors in Python, for tests: a shared library with a C interface, and capsules made with ctypes."""

import ctypes
import sys

DTYPES = ("f32", "f64", "i32", "i64")
VERSIONED, UNVERSIONED = b"dltensor_versioned", b"dltensor"

_capsules = ctypes.pythonapi
_capsules.PyCapsule_New.restype = ctypes.py_object
_capsules.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
# As plain addresses, since a capsule that is being destroyed must not be referred to again.
_capsules.PyCapsule_IsValid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_capsules.PyCapsule_GetPointer.restype = ctypes.c_void_p
_capsules.PyCapsule_GetPointer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_capsules.PyCapsule_SetName.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_used_names = {VERSIONED: b"used_dltensor_versioned", UNVERSIONED: b"used_dltensor"}  # a capsule keeps the address of its name


def skip_without(*modules):
    """Ends the script as skipped when a module is not installed."""
    for name in modules:
        try:
            __import__(name)
        except ImportError:
            print(f"SKIPPED: Python at {sys.executable} has no {name} (REFRAIN_PYTHON names another)")
            sys.exit(0)


def knows_versions(array):
    """False for NumPy before 2.1 and PyTorch before 2.9."""
    try:
        return '"dltensor_versioned"' in repr(array.__dlpack__(max_version=(1, 1)))
    except TypeError:
        return False


class Refrain:
    """The shared library."""

    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        for name, result, arguments in (
            ("error", text, []),
            ("make", pointer, [integer, integer, pointer]),
            ("free", None, [pointer]),
            ("address", pointer, [pointer]),
            ("unique", integer, [pointer]),
            ("fill", None, [pointer, ctypes.c_double]),
            ("lend", pointer, [pointer, integer, integer]),
            ("give_back", None, [pointer, integer]),
            ("take", pointer, [pointer, integer, integer]),
            ("read", pointer, [text, text]),
            ("write", integer, [text, integer, pointer, pointer, text]),
            ("nextitnet", pointer, [text, integer, pointer, integer, integer, pointer]),
            ("recurrent", pointer, [text, integer, pointer]),
            ("patch", pointer, [text, pointer]),
        ):
            function = getattr(self.c, "exchange_" + name)
            function.restype, function.argtypes = result, arguments
        self._destroy = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._capsule_dies)

    def _capsule_dies(self, capsule):
        for name in (VERSIONED, UNVERSIONED):  # a capsule that was taken has another name
            if _capsules.PyCapsule_IsValid(capsule, name):
                self.c.exchange_give_back(_capsules.PyCapsule_GetPointer(capsule, name), name == VERSIONED)

    def _tensor(self, pointer):
        if not pointer:
            raise RuntimeError(self.c.exchange_error().decode())
        return Tensor(self, pointer)

    def counted(self, dtype, shape):
        """A tensor with the elements 0, 1, 2, ..."""
        return self._tensor(self.c.exchange_make(DTYPES.index(dtype), len(shape), (ctypes.c_int64 * len(shape))(*shape)))

    def take(self, other, versioned=True, copy=False):
        """A tensor on the elements of another library's array; through a versioned capsule where the library knows them."""
        versioned = versioned and knows_versions(other)
        capsule = other.__dlpack__(max_version=(1, 1)) if versioned else other.__dlpack__()
        name = VERSIONED if versioned else UNVERSIONED
        if not _capsules.PyCapsule_IsValid(id(capsule), name):
            raise AssertionError(f"the producer gave another capsule than {name}: {capsule}")
        managed = _capsules.PyCapsule_GetPointer(id(capsule), name)
        _capsules.PyCapsule_SetName(id(capsule), _used_names[name])
        return self._tensor(self.c.exchange_take(managed, versioned, copy))

    def read(self, path, name):
        return self._tensor(self.c.exchange_read(str(path).encode(), name.encode()))

    def write(self, path, tensors, text):
        names = (ctypes.c_char_p * len(tensors))(*(name.encode() for name in tensors))
        pointers = (ctypes.c_void_p * len(tensors))(*(tensor.pointer for tensor in tensors.values()))
        if self.c.exchange_write(str(path).encode(), len(tensors), names, pointers, text.encode()) != 0:
            raise RuntimeError(self.c.exchange_error().decode())

    def nextitnet(self, weights, dilations, ids, two_way=False, scores=False):
        steps = (ctypes.c_int64 * len(dilations))(*dilations)
        return self._tensor(
            self.c.exchange_nextitnet(str(weights).encode(), len(dilations), steps, two_way, scores, ids.pointer)
        )

    def recurrent(self, weights, is_lstm, x):
        return self._tensor(self.c.exchange_recurrent(str(weights).encode(), is_lstm, x.pointer))

    def patch(self, weights, x):
        return self._tensor(self.c.exchange_patch(str(weights).encode(), x.pointer))


class Tensor:
    """A handle on a tensor, which NumPy and PyTorch take with their from_dlpack."""

    def __init__(self, refrain, pointer):
        self.refrain, self.pointer, self.read_only = refrain, pointer, False

    def __del__(self):
        self.refrain.c.exchange_free(self.pointer)

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        versioned = max_version is not None and max_version[0] >= 1
        managed = self.refrain.c.exchange_lend(self.pointer, versioned, self.read_only)
        if not managed:
            raise BufferError(self.refrain.c.exchange_error().decode())
        return _capsules.PyCapsule_New(managed, VERSIONED if versioned else UNVERSIONED, self.refrain._destroy)

    @property
    def address(self):
        return self.refrain.c.exchange_address(self.pointer)

    @property
    def unique(self):
        """True when no other library has a handle on the elements."""
        return bool(self.refrain.c.exchange_unique(self.pointer))

    def fill(self, value):
        self.refrain.c.exchange_fill(self.pointer, value)
