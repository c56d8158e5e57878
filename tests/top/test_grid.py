"""Rows in columns: how they line up, what is cut off, and how they are drawn."""

from __future__ import annotations

import io

from rich.console import Console

from schedulerd.top.grid import Cell, Column, Grid, Row

COLUMNS = (Column("APP"), Column("ms", right=True), Column("ROUTE"))
ROWS = (
    Row((Cell("cam"), Cell("9.5"), Cell("full 50"))),
    Row((Cell("door-2"), Cell("120.0"), Cell("full"))),
)


def drawn(grid: Grid, width: int = 80, *, colours: bool = False) -> str:
    out = io.StringIO()
    colour_system = "standard" if colours else None
    Console(file=out, width=width, force_terminal=colours, color_system=colour_system).print(grid)  # type: ignore[arg-type]
    return out.getvalue()


def test_words_begin_on_the_left_and_numbers_end_on_the_right() -> None:
    assert [line.rstrip() for line in drawn(Grid(COLUMNS, ROWS)).splitlines()] == [
        "APP        ms  ROUTE",
        "cam       9.5  full 50",
        "door-2  120.0  full",
    ]


def test_what_is_too_long_is_cut_off_and_takes_no_second_line() -> None:
    assert drawn(Grid(COLUMNS, ROWS), width=18).splitlines() == [
        "APP        ms  ROU",
        "cam       9.5  ful",
        "door-2  120.0  ful",
    ]


def test_characters_that_are_two_columns_wide_count_as_two() -> None:
    wide = Row((Cell("入口"), Cell("1.0"), Cell("full")))
    assert drawn(Grid(COLUMNS, (wide,))).splitlines()[1].rstrip() == "入口  1.0  full"


def test_cells_are_drawn_in_their_style_and_that_of_their_row() -> None:
    row = Row((Cell("cam"), Cell("9.5", "red"), Cell("full")), "bold")
    text = drawn(Grid(COLUMNS, (row,)), colours=True)
    assert "\x1b[1;31m9.5" in text
    assert "\x1b[1mcam" in text
    assert "\x1b[2mAPP" in text, "headings are dim"


def test_no_rows_are_headings_alone() -> None:
    assert drawn(Grid(COLUMNS, ())).splitlines() == ["APP  ms  ROUTE"]
