"""Small files that a kernel makes up as they are read (procfs(5), sysfs(5)), any of which a board may lack."""

from __future__ import annotations

import math
from pathlib import Path


def read_text(path: Path) -> str | None:
    """The text without the white space around it; None where it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def read_number(path: Path) -> float | None:
    """The one number that the file holds; None where it cannot be read, or holds something else."""
    return number_of(read_text(path) or "")


def number_of(text: str) -> float | None:
    """None where it is none, or not a finite one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
