"""Memory that training frees stays with the process: a third of the time of a batch is page faults otherwise."""

from __future__ import annotations

import ctypes
from typing import Final

# mallopt(3). By default glibc hands every freed block above 32 MiB back to the kernel, and the next batch faults its
# pages in again, one by one.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST: Final = 1 << 30


def keep_freed_memory() -> None:
    """Ask the C library to keep what is freed; does nothing where it has no `mallopt` (musl, macOS)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)
