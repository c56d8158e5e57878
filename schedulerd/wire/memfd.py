"""Sealed anonymous files (memfd_create(2)): memory that two processes share and neither can take from the other.

The owner writes, the other side maps it for reading. Without the seal against shrinking, the owner could cut the file
while the other side reads it, which ends a process with SIGBUS; so a file without it is never mapped.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
from typing import Final

SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""Its size is final. The owner may still write, so a reader sees bytes that can change, but never a hole in memory."""


class UnfitDescriptor(ValueError):
    """A descriptor that may not be mapped, with the remedy."""


def create(size_bytes: int, name: str = "schedulerd") -> int:
    """A sealed file of zeros, as a descriptor that the caller closes. OSError where there is no memory."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def map_writable(descriptor: int) -> mmap.mmap:
    """The owner's view of the whole file."""
    return mmap.mmap(descriptor, os.fstat(descriptor).st_size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def map_sealed(descriptor: int, most_bytes: int) -> mmap.mmap:
    """A read-only view of a file that came from another process; the descriptor stays the caller's.

    Raises `UnfitDescriptor` unless it is a memfd that cannot shrink, of 1 to `most_bytes` bytes, on ordinary pages:
    huge ones are only promised, and touching one that the system does not have is SIGBUS too.
    """
    found = os.fstat(descriptor)
    seals = 0
    if stat.S_ISREG(found.st_mode):
        with contextlib.suppress(OSError):  # EINVAL: no memfd
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    if not seals & fcntl.F_SEAL_SHRINK:
        raise UnfitDescriptor("the descriptor is no memfd sealed with F_SEAL_SHRINK: seal it before it is sent")
    if found.st_blksize > mmap.PAGESIZE:
        raise UnfitDescriptor(f"the memfd has pages of {found.st_blksize} bytes: create it without MFD_HUGETLB")
    if not 0 < found.st_size <= most_bytes:
        raise UnfitDescriptor(f"the memfd has {found.st_size} bytes; it may have 1 to {most_bytes}")
    return mmap.mmap(descriptor, found.st_size, mmap.MAP_SHARED, mmap.PROT_READ)
