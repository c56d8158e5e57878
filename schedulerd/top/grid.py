"""Rows in columns as rich draws them, without borders.

`rich.table` takes ten times as long: it measures and wraps every cell several times, which is most of what the view
costs. Here a row is a line; what is too long for the terminal is cut off on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

_GAP = Segment("  ")


class Column(NamedTuple):
    """What a column is called, and on which side its cells begin."""

    heading: str
    right: bool = False


class Cell(NamedTuple):
    """A text of one line, and how it is drawn."""

    text: str
    style: str = ""


class Row(NamedTuple):
    """A cell for each column, and what is drawn of all of them."""

    cells: Sequence[Cell]
    style: str = ""


class Grid:
    """A line of headings, and a line for each row."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        self._columns = columns
        self._rows = (Row([Cell(column.heading) for column in columns], "dim"), *rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines, no longer than the terminal is wide."""
        widths = [max(cell_len(row.cells[i].text) for row in self._rows) for i in range(len(self._columns))]
        for row in self._rows:
            yield from Segment.adjust_line_length(self._line(console, row, widths), options.max_width, pad=False)
            yield Segment.line()

    def _line(self, console: Console, row: Row, widths: Sequence[int]) -> list[Segment]:
        line = []
        for column, cell, width in zip(self._columns, row.cells, widths, strict=True):
            blanks = " " * (width - cell_len(cell.text))
            text = blanks + cell.text if column.right else cell.text + blanks
            line += [Segment(text, console.get_style(row.style) + console.get_style(cell.style)), _GAP]
        return line[:-1]
