"""Give memory that was freed back to the system."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """Return the free pages of the heap (malloc_trim(3)); does nothing where the C library is not glibc.

    Parsing a file leaves holes as large as the file: 16 blocks of 5 MB took 146 MB of resident pages without this
    and 84 MB with it, which is what they had allocated. It takes below 1 ms, and Python threads run meanwhile.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))
