"""How many pages a run touches, which is how much scratch memory a block needs from an arena that all blocks share.

The kernel marks a page as referenced when a processor goes through its tables for it. `clear_refs` takes the marks
away and `smaps` counts them (proc_pid_clear_refs(5), proc_pid_smaps(5)).
"""

from __future__ import annotations

import gc
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Final

_SELF: Final = Path("/proc/self")
_REFERENCED: Final = b"1"
_FLUSH_BYTES: Final = 4 * 2**20
"""A processor that has an address translation cached does not mark the page. To unmap more pages than the kernel cares
to forget one by one (33 on x86, 512 on ARM) makes it forget all of this process."""


def touched_bytes(run: Callable[[], object]) -> int | None:
    """Bytes of anonymous memory that `run` reads or writes; None where the kernel does not tell."""
    collecting = gc.isenabled()
    gc.disable()  # it would look at every object of the interpreter
    try:
        with (_SELF / "clear_refs").open("wb", buffering=0) as file:
            file.write(_REFERENCED)
        _forget_translations()
        _held = run()
        return _referenced_bytes((_SELF / "smaps").read_bytes())
    except (OSError, ValueError, IndexError):
        return None
    finally:
        if collecting:
            gc.enable()


def _forget_translations() -> None:
    with mmap.mmap(-1, _FLUSH_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
        for start in range(0, _FLUSH_BYTES, mmap.PAGESIZE):
            pages[start] = 1


def _referenced_bytes(smaps: bytes) -> int:
    """Of all mappings that have no file: the headers of the others have an inode as their fifth field."""
    total_kb, anonymous = 0, False
    for line in smaps.splitlines():
        first, *fields = line.split()
        if not first.endswith(b":"):
            anonymous = fields[3] == b"0"
        elif first == b"Referenced:" and anonymous:
            total_kb += int(fields[0])
    return total_kb * 1024
