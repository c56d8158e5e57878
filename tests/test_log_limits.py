"""One event cannot fill the log, what was left out is told, and decisions are always written."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
import structlog

from schedulerd import logs
from schedulerd.log_limits import DECISIONS, MOST_NAMES, TELL_EVERY_S, Limiter, Rate
from tests.fakes import FakeClock

RATE = Rate(burst=3, per_s=1.0)


class Log:
    """A log that is limited by a clock of the test's own."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._stream = io.StringIO()
        logs.configure("debug", "json", self._stream, rate=RATE, clock=self.clock)

    def write(self, event: str, times: int = 1, level: str = "info") -> None:
        for number in range(times):
            getattr(structlog.get_logger(), level)(event, number=number)

    def lines(self) -> list[dict[str, Any]]:
        """What was written since this was last asked."""
        text = self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        return [json.loads(line) for line in text.splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]


@pytest.fixture
def log() -> Log:
    return Log()


def test_an_event_is_written_so_often_at_once_and_then_so_often_a_second(log: Log) -> None:
    log.write("flood", 10)
    assert [line["number"] for line in log.lines()] == [0, 1, 2]
    log.clock.advance(0.9)
    log.write("flood")
    assert log.events() == []
    log.clock.advance(0.1)
    log.write("flood", 5)
    assert [event for event in log.events() if event == "flood"] == ["flood"]


def test_one_that_comes_seldom_is_never_left_out(log: Log) -> None:
    for _ in range(50):
        log.write("seldom")
        log.clock.advance(1.0)
    assert log.events() == ["seldom"] * 50


def test_it_is_told_how_many_were_left_out(log: Log) -> None:
    log.write("flood", 10)
    log.lines()
    log.clock.advance(1.0)
    log.write("flood")
    told, flood = log.lines()
    assert (told["event"], told["level"], told["of"], told["lines"]) == ("lines_left_out", "warning", "flood", 7)
    assert flood["event"] == "flood"


def test_any_line_tells_it_for_a_flood_may_have_stopped(log: Log) -> None:
    log.write("flood", 10)
    log.lines()
    log.write("another")
    assert log.events() == ["lines_left_out", "another"]
    log.write("another")
    assert log.events() == ["another"], "once"


def test_a_flood_that_goes_on_is_told_of_now_and_then(log: Log) -> None:
    for _ in range(int(2 * TELL_EVERY_S)):
        log.write("flood", 10)
        log.clock.advance(1.0)
    counts = [line["lines"] for line in log.lines() if line["event"] == "lines_left_out"]
    assert len(counts) == 2


def test_the_last_line_tells_what_was_not_told(log: Log) -> None:
    log.write("flood", 10)
    log.write("another")
    log.write("flood", 4)
    log.lines()
    log.write("stopped")
    assert [(line["event"], line.get("lines")) for line in log.lines()] == [("lines_left_out", 4), ("stopped", None)]


def test_events_do_not_count_for_each_other(log: Log) -> None:
    log.write("flood", 10)
    log.write("flood", 3, level="debug")
    log.write("another", 3)
    written = [(line["event"], line["level"]) for line in log.lines() if line["event"] != "lines_left_out"]
    assert written == [("flood", "info")] * 3 + [("flood", "debug")] * 3 + [("another", "info")] * 3


@pytest.mark.parametrize("event", sorted(DECISIONS))
def test_what_was_decided_is_always_written(event: str, log: Log) -> None:
    log.write(event, 100)
    assert log.events() == [event] * 100


def test_errors_have_ten_times_as_much(log: Log) -> None:
    log.write("lane_fault", 100, level="error")
    assert log.events() == ["lane_fault"] * 30
    log.clock.advance(1.0)
    log.write("lane_fault", 100, level="error")
    assert log.events() == ["lines_left_out"] + ["lane_fault"] * 10


def test_names_without_end_do_not_fill_the_memory() -> None:
    limiter = Limiter(RATE, FakeClock())
    for number in range(10 * MOST_NAMES):
        with contextlib.suppress(structlog.DropEvent):
            limiter(None, "info", {"event": f"event {number}"})
    assert len(limiter._buckets) == MOST_NAMES + 1


def test_without_a_rate_nothing_is_left_out() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    for _ in range(1000):
        structlog.get_logger().info("flood")
    assert stream.getvalue().count("\n") == 1000
