"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table; every row has a cell for each of `header`."""
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(row)} |"
