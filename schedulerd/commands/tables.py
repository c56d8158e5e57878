"""Plain text for people: aligned tables and counts."""

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


def count_text(count: int, noun: str) -> str:
    """`1 blob`, `2 blobs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
