"""Plain text for people: aligned tables and sizes in decimal units."""

from __future__ import annotations

from collections.abc import Sequence

RESTART_NOTE = "a daemon that serves this store takes it in when it is started again"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> list[str]:
    """Lines of a table with aligned columns; the columns named in `numbers` are flush right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    right = [name in numbers for name in header]
    return [
        "  ".join(
            cell.rjust(width) if flush_right else cell.ljust(width)
            for cell, width, flush_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (header, *rows)
    ]


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


def count_text(count: int, noun: str) -> str:
    """`1 blob`, `2 blobs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
