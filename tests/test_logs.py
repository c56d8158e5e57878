"""Logs: JSON for machines, words at a terminal, and a stream that breaks."""

from __future__ import annotations

import io
import json
import threading
from datetime import UTC, datetime

import pytest
import structlog

from schedulerd import logs


class _Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_stream_that_is_no_terminal_gets_one_json_object_a_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "auto", stream)
    structlog.get_logger().info("plan", number=7, cause="budget of cam1 50 → 25 ms\nand more")
    structlog.get_logger().warning("second")
    first, second = lines(stream)
    assert list(first) == ["time", "at_s", "level", "event", "number", "cause"]
    assert (first["event"], first["number"], first["level"]) == ("plan", 7, "info")
    assert first["cause"] == "budget of cam1 50 → 25 ms\nand more"
    assert second["level"] == "warning"


def test_json_carries_wall_time_in_utc_and_the_clock_of_snapshots() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    structlog.get_logger().info("first")
    structlog.get_logger().info("second")
    first, second = lines(stream)
    stamp = datetime.fromisoformat(str(first["time"]))
    assert stamp.tzinfo is not None
    assert abs((datetime.now(UTC) - stamp).total_seconds()) < 3600
    assert isinstance(first["at_s"], float)
    assert isinstance(second["at_s"], float)
    assert second["at_s"] >= first["at_s"]


def test_a_terminal_gets_words() -> None:
    stream = _Terminal()
    logs.configure("info", "auto", stream)
    structlog.get_logger().info("plan", number=7)
    text = stream.getvalue()
    assert "plan" in text
    assert "number" in text
    assert not text.startswith("{")


def test_json_can_be_had_at_a_terminal_and_words_elsewhere() -> None:
    terminal, file = _Terminal(), io.StringIO()
    logs.configure("info", "json", terminal)
    structlog.get_logger().info("plan")
    logs.configure("info", "console", file)
    structlog.get_logger().info("plan")
    assert lines(terminal)[0]["event"] == "plan"
    assert file.getvalue().rstrip().endswith("plan")
    assert "\x1b" not in file.getvalue(), "no colours in a file"


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_less_severe_events_are_left_out(level: str, written: list[str]) -> None:
    stream = io.StringIO()
    logs.configure(level, "json", stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)("event")
    assert [line["level"] for line in lines(stream)] == written


def test_a_logger_taken_before_follows_the_configuration() -> None:
    log = structlog.get_logger()
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    log.info("late")
    assert lines(stream)[0]["event"] == "late"


def test_a_traceback_stays_on_its_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    try:
        raise ValueError("the reason")
    except ValueError:
        structlog.get_logger().exception("control_fault")
    (line,) = lines(stream)
    assert "the reason" in json.dumps(line["exception"])


def test_what_json_cannot_hold_is_written_as_text() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    structlog.get_logger().info("odd", value=object(), share=float("nan"))
    assert stream.getvalue().count("\n") == 1
    assert "<object object" in stream.getvalue()


def test_a_stream_that_closed_loses_lines_and_nothing_else() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    stream.close()
    structlog.get_logger().info("unheard")


def test_lines_of_many_threads_do_not_mix() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)

    def write(n: int) -> None:
        for i in range(50):
            structlog.get_logger().info("event", thread=n, i=i, filling="x" * 200)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted((line["thread"], line["i"]) for line in lines(stream)) == [
        (n, i) for n in range(4) for i in range(50)
    ]
