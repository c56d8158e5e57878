"""Progress: plain lines where nobody looks at a terminal."""

from __future__ import annotations

import io

from blockstore.build.progress import Lines, shown


def test_plain_lines_name_each_tenth_once() -> None:
    stream = io.StringIO()
    with shown(stream) as progress:
        for done in range(1, 101):
            progress("retrain", done, 100, f"loss {done}")
        progress("export", 1, 1)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "retrain: 1/100 loss 1"
    assert lines[-2:] == ["retrain: 100/100 loss 100", "export: 1/1"]
    assert len(lines) == 12


def test_a_line_says_how_long_the_rest_of_the_stage_takes_at_the_speed_so_far() -> None:
    stream, now_s = io.StringIO(), iter((100.0, 110.0, 130.0, 150.0))
    lines = Lines(stream, lambda: next(now_s))
    # It goes on from an earlier build: the first 40 steps say nothing of the speed.
    for done in (40, 50, 70, 100):
        lines("retrain", done, 100)
    assert stream.getvalue().splitlines() == [
        "retrain: 40/100",
        "retrain: 50/100 (0:00:50 left)",
        "retrain: 70/100 (0:00:30 left)",
        "retrain: 100/100",
    ]


def test_a_terminal_gets_bars() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with shown(stream) as progress:
        progress("retrain", 1, 2)
        progress("retrain", 2, 2)
    assert "retrain" in stream.getvalue()
    assert "2/2" in stream.getvalue()
