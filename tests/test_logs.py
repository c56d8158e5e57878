"""Logs: fields for a journal, JSON for other machines, words at a terminal, and a stream that breaks."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from schedulerd import logs
from schedulerd.config_log import LogConfig
from schedulerd.journal import Journal
from schedulerd.log_limits import Rate
from tests.test_journal import PATIENCE_S, Listener


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


def test_a_stream_that_nobody_reads_loses_lines_and_keeps_nobody_waiting() -> None:
    """As standard error is, connected to a journal that has stopped; the lanes log too."""
    ours, readers = socket.socketpair()
    with ours, ours.makefile("w") as stream, readers:  # in this order, for who waits to write ends with the readers
        logs.configure("info", "json", stream)
        log = structlog.get_logger()
        writer = threading.Thread(target=lambda: [log.info("flood", number=n, text="x" * 200) for n in range(5000)])
        writer.daemon = True
        writer.start()
        writer.join(PATIENCE_S)
        assert not writer.is_alive()
        written = read_all(readers)
        assert 0 < len(written) < 5000
        assert [line["number"] for line in written] == list(range(len(written)))
        log.info("read again")
        assert [line["event"] for line in read_all(readers)] == ["read again"]


def read_all(stream: socket.socket) -> list[dict[str, Any]]:
    """The lines that lie in a socket."""
    stream.setblocking(False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            data += stream.recv(1 << 20)
    return [json.loads(line) for line in data.splitlines()]


def test_a_traceback_holds_no_values_of_variables() -> None:
    """They may be a camera's frame, or a key."""
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    held = "what the function had in hand"
    try:
        raise ValueError(len(held))
    except ValueError:
        structlog.get_logger().exception("control_fault")
    assert "control_fault" in stream.getvalue()
    assert held not in stream.getvalue()


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[Journal]:
    """A journal where nobody listens."""
    made = Journal(tmp_path / "nobody")
    yield made
    made.close()


@pytest.mark.parametrize("layout", ["json", "console", "journal"])
def test_secrets_are_not_written(layout: str, nobody: Journal) -> None:
    stream = io.StringIO()
    logs.configure("info", layout, stream, journal=nobody)
    structlog.get_logger().info("curve", secret_key="abc123", peers=[{"token": "abc123"}])  # noqa: S106
    assert "curve" in stream.getvalue()
    assert "abc123" not in stream.getvalue()


# The journal.


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(tmp_path / "socket")
    yield made
    made.close()


@pytest.fixture
def journal(listener: Listener) -> Iterator[Journal]:
    made = Journal(listener.path)
    yield made
    made.close()


def test_a_journal_gets_entries_and_the_stream_nothing(journal: Journal, listener: Listener) -> None:
    stream = io.StringIO()
    logs.configure("info", "journal", stream, journal=journal)
    structlog.get_logger().warning("source_unread", source="thermal", retry_s=2)
    entry = dict(listener.entry())
    assert entry["MESSAGE"] == "source_unread: source thermal, retry_s 2"
    assert entry["SCHEDULERD_EVENT"] == "source_unread"
    assert entry["PRIORITY"] == "4"
    assert float(entry["SCHEDULERD_AT_S"]) > 0
    assert stream.getvalue() == ""


def test_a_journal_gets_the_traceback_as_text(journal: Journal, listener: Listener) -> None:
    logs.configure("info", "journal", io.StringIO(), journal=journal)
    try:
        raise ValueError("the reason")
    except ValueError:
        structlog.get_logger().exception("control_fault")
    trace = dict(listener.entry())["SCHEDULERD_EXCEPTION"]
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("ValueError: the reason")


def test_without_a_journal_its_entries_are_json_lines(nobody: Journal, tmp_path: Path) -> None:
    stream = io.StringIO()
    logs.configure("info", "journal", stream, journal=nobody)
    try:
        raise ValueError("the reason")
    except ValueError:
        structlog.get_logger().exception("control_fault", app="front")
    (line,) = lines(stream)
    assert list(line)[:4] == ["time", "at_s", "level", "event"]
    assert (line["event"], line["app"]) == ("control_fault", "front")
    assert "the reason" in json.dumps(line["exception"])
    listener = Listener(tmp_path / "nobody")
    structlog.get_logger().info("heard")
    assert dict(listener.entry())["MESSAGE"] == "heard", "it is there now"
    assert len(lines(stream)) == 1
    listener.close()


def test_what_was_rendered_for_the_layout_before_is_written_all_the_same(nobody: Journal) -> None:
    """A thread that logs while the configuration is reloaded may have the one with the other, and must not fail."""
    stream = io.StringIO()
    made = []
    for layout in ("journal", "json"):
        logs.configure("info", layout, stream, journal=nobody)
        made.append(structlog.get_config()["logger_factory"]())
    entries, plain_lines = made
    entries.info('{"event": "for lines"}')
    plain_lines.info({"event": "for the journal"})
    assert "for lines" in stream.getvalue()
    assert "for the journal" in stream.getvalue()


def test_auto_is_the_journal_where_systemd_has_connected_the_stream(
    journal: Journal, listener: Listener, tmp_path: Path
) -> None:
    with (tmp_path / "stderr").open("w+") as stream:
        found = os.fstat(stream.fileno())
        named = f"{found.st_dev}:{found.st_ino}"
        logs.configure("info", "auto", stream, journal=journal, journal_stream=named)
        structlog.get_logger().info("plan")
        assert dict(listener.entry())["MESSAGE"] == "plan"
        logs.configure("info", "auto", stream, journal=journal, journal_stream="1:1")
        structlog.get_logger().info("elsewhere")
        stream.seek(0)
        assert [json.loads(line)["event"] for line in stream] == ["elsewhere"]


# The level, and what a configuration says.


def test_another_level_is_in_force_at_once_and_nothing_else_changes() -> None:
    stream = io.StringIO()
    logs.configure("warning", "json", stream)
    log = structlog.get_logger()
    log.info("before")
    assert logs.level() == "warning"
    logs.set_level("debug")
    log.debug("after")
    assert logs.level() == "debug"
    assert [line["event"] for line in lines(stream)] == ["after"]


def test_a_configuration_is_followed(capsys: pytest.CaptureFixture[str]) -> None:
    logs.follow(LogConfig(level="warning", format="json", burst=2, lines_per_s=0.01), None)
    for _ in range(5):
        structlog.get_logger().warning("flood")
    structlog.get_logger().info("unheard")
    logs.follow(LogConfig(format="json", lines_per_s=None), None)
    for _ in range(50):
        structlog.get_logger().info("all")
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["flood"] * 2 + ["all"] * 50


def test_floods_are_left_out_of_every_layout(nobody: Journal) -> None:
    stream = io.StringIO()
    logs.configure("info", "journal", stream, rate=Rate(2, 0.01), journal=nobody)
    for _ in range(5):
        structlog.get_logger().info("flood")
    assert stream.getvalue().count('"flood"') == 2
