"""What the C library has handed out: exact to the byte, where resident pages come in steps and are reused."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import ClassVar

_FIELDS = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)


class _Mallinfo2(ctypes.Structure):
    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in _FIELDS]


def allocated_bytes_reader() -> Callable[[], int] | None:
    """A function that gives the bytes in use through malloc; None where glibc is older than 2.33 or absent.

    `uordblks` is what the heaps have handed out, `hblkhd` what was mapped for large blocks (mallinfo2(3)).
    """
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return None
    mallinfo2.restype = _Mallinfo2

    def allocated_bytes() -> int:
        info = mallinfo2()
        return int(info.uordblks) + int(info.hblkhd)

    return allocated_bytes
