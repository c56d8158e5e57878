"""Where log events go: JSON lines for machines, words for a person at a terminal.

Everything is written through structlog: `structlog.get_logger().info("plan", number=7, cause="budget")`. A
log stream that breaks (a journal that restarts, a pipe that closes) loses lines, never the daemon.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: str, layout: str, stream: TextIO | None = None) -> None:
    """Send every event of at least `level` to `stream`, from all threads and from now on.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        layout: `json`, `console`, or `auto`: `console` where `stream` is a terminal, else `json`.
        stream: text stream that the caller keeps open; None is standard error.
    """
    stream = stream or sys.stderr
    on_terminal = stream.isatty()
    as_words = layout == "console" or (layout == "auto" and on_terminal)
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=common + (_words(on_terminal) if as_words else _json()),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_Lines(stream),
        cache_logger_on_first_use=False,  # modules take their loggers before this runs
    )


def _json() -> list[Processor]:
    return [
        _monotonic,
        structlog.processors.dict_tracebacks,
        _head_first,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _words(colours: bool) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colours, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )
    return [renderer]


def _monotonic(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add `at_s`, the clock of snapshots: wall time jumps when a board without its own clock hears NTP."""
    event["at_s"] = round(time.monotonic(), 3)
    return event


def _head_first(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """When, how severe and what in front, where the eye looks for it."""
    head = {key: event.pop(key) for key in ("time", "at_s", "level", "event")}
    return {**head, **event}


class _Lines:
    """A structlog logger, and the factory of itself, that writes whole lines and outlives its stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, *_: object) -> _Lines:
        return self

    def msg(self, line: str) -> None:
        # ValueError is what a closed stream raises.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = log = msg
