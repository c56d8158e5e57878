"""Sizes in decimal units, as people read them."""

from __future__ import annotations


def size_text(size_bytes: int) -> str:
    """A size as `812 B`, `4.1 kB`, `5.2 MB` or `1.3 GB` (powers of 1000)."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"
