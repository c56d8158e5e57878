"""The progress bar, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from schedulerd.bar import Bar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


def test_draws_in_place_on_a_terminal() -> None:
    """Each state from the beginning of the line, and only where the percentage has changed."""
    stream = Terminal()
    with Bar("measuring", stream) as bar:
        for share in (0.0, 0.001, 0.5, 1.0):
            bar(share)
    states = stream.getvalue().split("\r")
    assert states == [
        "",
        f"measuring [{'.' * 30}]   0%",
        f"measuring [{'#' * 15}{'.' * 15}]  50%",
        f"measuring [{'#' * 30}] 100%\n",
    ]


def test_ends_its_line_when_the_work_fails() -> None:
    """The error message begins a line of its own."""
    stream = Terminal()

    def work() -> None:
        with Bar("measuring", stream) as bar:
            bar(0.1)
            raise RuntimeError("no board")

    with pytest.raises(RuntimeError):
        work()
    assert stream.getvalue().endswith("%\n")


def test_says_once_elsewhere_that_work_began() -> None:
    """A log file is no place for a hundred bars."""
    stream = io.StringIO()
    with Bar("measuring", stream) as bar:
        for percent in range(101):
            bar(percent / 100)
    assert stream.getvalue() == "measuring\n"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_is_silent_when_there_was_nothing_to_do(stream: io.StringIO) -> None:
    """A cached profile shows no bar."""
    with Bar("measuring", stream):
        pass
    assert stream.getvalue() == ""


def test_the_time_left_is_shown_and_a_shorter_line_covers_a_longer_one() -> None:
    """In seconds, and in minutes from two on."""
    stream = Terminal()
    with Bar("measuring", stream) as bar:
        for share, left_s in ((0.0, None), (0.1, 300.0), (0.5, 119.6), (1.0, None)):
            bar(share, left_s)
    ends = [state.partition("]")[2] for state in stream.getvalue().split("\r")]
    assert [end.rstrip() for end in ends] == ["", "   0%", "  10%, 5 min left", "  50%, 120 s left", " 100%"]
    assert len(ends[-1].rstrip("\n")) == len(ends[-2].rstrip("\n"))
