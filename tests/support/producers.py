"""Types with DLPack's C exchange API that no library stands behind: every field of their tensors can be set."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import numpy.typing as npt

CODES = {"i": 0, "u": 1, "f": 2}


class _Tensor(ctypes.Structure):
    _fields_: ClassVar = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Table(ctypes.Structure):
    _fields_: ClassVar = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("previous", ctypes.c_void_p),
        ("allocate", ctypes.c_void_p),
        ("to_owned", ctypes.c_void_p),
        ("to_object", ctypes.c_void_p),
        ("view_of", ctypes.c_void_p),
        ("current_stream", ctypes.c_void_p),
    ]


@ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(_Tensor))
def _view_of(tensor: Any, out: Any) -> int:
    for name, value in tensor.fields.items():
        setattr(out.contents, name, value)
    return 0


VIEW_OF = ctypes.cast(_view_of, ctypes.c_void_p).value
RAISES = ctypes.cast(ctypes.pythonapi.PyObject_AsFileDescriptor, ctypes.c_void_p).value
"""A C function of an object that returns -1 with whatever the object's `fileno` raises."""


class Producer:
    """Shows an array as a tensor, but for what `fields` say otherwise."""

    def __init__(self, array: npt.NDArray[Any], **fields: Any) -> None:
        self.array = array
        self.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self.strides = (ctypes.c_int64 * array.ndim)(*(step // array.itemsize for step in array.strides))
        self.fields = {
            "data": array.ctypes.data,
            "device_type": 1,
            "ndim": array.ndim,
            "code": CODES[array.dtype.kind],
            "bits": 8 * array.itemsize,
            "lanes": 1,
            "shape": self.shape,
            "strides": self.strides,
            **fields,
        }


_tables: list[_Table] = []
"""For good: a table outlives every type that names it."""


def table(major: int = 1, *, previous: int | None = None, view_of: int | None = VIEW_OF) -> int:
    """The address of a table of functions."""
    _tables.append(_Table(major=major, previous=previous, view_of=view_of))
    return ctypes.addressof(_tables[-1])


def capsule(address: int, name: bytes = b"dlpack_exchange_api") -> Any:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(address, name, None)


def producer(api: Any, **members: Any) -> type[Producer]:
    """A new type with this attribute."""
    return type("Made", (Producer,), {"__dlpack_c_exchange_api__": api, **members})
