"""What the C library does with memory that is freed. All of it does nothing where that is not glibc."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
MAX_MMAP_THRESHOLD_BYTES = 32 * 2**20
"""More is refused (mallopt(3), M_MMAP_THRESHOLD)."""


def return_freed_memory() -> None:
    """Return the free pages of the heap to the system (malloc_trim(3)).

    Parsing a file leaves holes as large as the file: 16 blocks of 5 MB took 146 MB of resident pages without this
    and 84 MB with it, which is what they had allocated. It takes below 1 ms, and Python threads run meanwhile.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


def keep_tensors_on_heap() -> None:
    """Let tensors of up to 32 MB be made from memory that is kept, not mapped and returned each time (mallopt(3)).

    For an engine that has no arena of its own: a route of four blocks with tensors of 0.4 MB had 600 page faults in
    some processes and 40 in others, by the luck of the heap, and took up to 40% longer than its blocks had before.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAX_MMAP_THRESHOLD_BYTES)
        mallopt(M_TRIM_THRESHOLD, 2 * MAX_MMAP_THRESHOLD_BYTES)
