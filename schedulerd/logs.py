"""Where log events go: fields for the journal, JSON lines for other machines, words for a person at a terminal.

Everything is written through structlog: `structlog.get_logger().info("plan", number=7, cause="budget")`. A
log stream that breaks (a journal that restarts, a pipe that closes or is not read) loses lines, never the daemon.
"""

from __future__ import annotations

import contextlib
import select
import sys
import threading
import time
from functools import cache
from typing import Any, Final, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from schedulerd.clock import Clock, SystemClock
from schedulerd.confidential import blanked
from schedulerd.config_log import LogConfig
from schedulerd.journal import PATIENCE_S, Journal, Sent, is_stream
from schedulerd.log_levels import AUTO, CONSOLE, JOURNAL, JSON, LOG_LEVELS
from schedulerd.log_limits import Limiter, Rate

_FILTERS: Final = {
    level: structlog.make_filtering_bound_logger(severity)
    for level, severity in zip(LOG_LEVELS, (10, 20, 30, 40), strict=True)
}


def configure(
    level: str,
    layout: str,
    stream: TextIO | None = None,
    *,
    rate: Rate | None = None,
    journal: Journal | None = None,
    journal_stream: str | None = None,
    clock: Clock | None = None,
) -> None:
    """Send every event of at least `level` to `stream`, or to the journal, from all threads and from now on.

    Args:
        level: one of `LOG_LEVELS`.
        layout: `json`, `console`, `journal`, or `auto`: `console` where `stream` is a terminal, `journal` where it is
            the journal's, else `json`. Without a journal, `journal` writes as `json` does.
        stream: text stream that the caller keeps open; None is standard error.
        rate: what one event may write; None leaves nothing out.
        journal: to write to; None is the system's.
        journal_stream: what systemd calls the journal's stream (`config.service_manager`).
        clock: for `rate`.
    """
    stream = stream or sys.stderr
    layout = _layout(stream, journal_stream) if layout == AUTO else layout
    common: list[Processor] = [
        *([Limiter(rate, clock or SystemClock())] if rate else []),
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _without_secrets,
    ]
    as_lines, lines = {CONSOLE: _words(stream.isatty())}.get(layout, _json()), _Lines(stream)
    in_journal = layout == JOURNAL
    structlog.configure(
        processors=common + ([_monotonic, _as_it_is] if in_journal else as_lines),
        wrapper_class=_FILTERS[level],
        logger_factory=_Entries(journal or _system_journal(), lines) if in_journal else lines,
        cache_logger_on_first_use=False,  # modules take their loggers before this runs
    )


def follow(config: LogConfig, journal_stream: str | None) -> None:
    """Write as the configuration says; `journal_stream` as `configure` has it."""
    rate = None if config.lines_per_s is None else Rate(config.burst, config.lines_per_s)
    configure(config.level, config.format, rate=rate, journal_stream=journal_stream)


def set_level(level: str) -> None:
    """Send every event of at least `level`, until this or `configure` is called again."""
    structlog.configure(wrapper_class=_FILTERS[level])


def level() -> str:
    """The least severity that is written."""
    in_force = structlog.get_config()["wrapper_class"]
    return next((level for level, wrapper in _FILTERS.items() if wrapper is in_force), LOG_LEVELS[0])


@cache
def _system_journal() -> Journal:
    """One socket, however often the log is configured."""
    return Journal()


def _layout(stream: TextIO, journal_stream: str | None) -> str:
    if stream.isatty():
        return CONSOLE
    with contextlib.suppress(OSError, ValueError):  # a stream that is no file has no descriptor
        if is_stream(journal_stream, stream.fileno()):
            return JOURNAL
    return JSON


def _json() -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _monotonic,
        # Without locals: what a function had in hand may be a camera's frame, or a key.
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        _head_first,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _words(colours: bool) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colours, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )
    return [structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"), renderer]


def _without_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    told: EventDict = blanked(event)
    return told


def _monotonic(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add `at_s`, the clock of snapshots: wall time jumps when a board without its own clock hears NTP."""
    event["at_s"] = round(time.monotonic(), 3)
    return event


def _head_first(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """When, how severe and what in front, where the eye looks for it."""
    head = {key: event.pop(key) for key in ("time", "at_s", "level", "event")}
    return {**head, **event}


def _as_it_is(_: WrappedLogger, __: str, event: EventDict) -> tuple[tuple[EventDict], dict[str, object]]:
    """For a logger that takes the event itself (structlog, "Adapting"): positional arguments, and keywords."""
    return (event,), {}


class _Lines:
    """A structlog logger, and the factory of itself, that writes whole lines and outlives its stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._room = _room(stream)
        self._patience_ms = PATIENCE_S * 1e3

    def __call__(self, *_: object) -> _Lines:
        return self

    def msg(self, line: str | EventDict) -> None:
        # While the layout changes, a thread may have one logger and what was rendered for the other. ValueError is what
        # a closed stream raises.
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._has_room():
                self._stream.write(f"{line}\n")
                self._stream.flush()

    def _has_room(self) -> bool:
        """Whether the stream takes a line: a lane must not wait for a reader that has stopped."""
        found = self._room is None or bool(self._room.poll(self._patience_ms))
        self._patience_ms = PATIENCE_S * 1e3 if found else 0.0
        return found

    debug = info = warning = error = critical = exception = log = msg


def _room(stream: TextIO) -> select.poll | None:
    """Asks whether a stream's file takes more; None where it has none."""
    with contextlib.suppress(OSError, ValueError):
        room = select.poll()
        room.register(stream.fileno(), select.POLLOUT)
        return room
    return None


class _Entries:
    """The same for entries of a journal, and for lines where there is none."""

    def __init__(self, journal: Journal, lines: _Lines) -> None:
        self._journal = journal
        self._lines = lines
        self._json = _json()

    def __call__(self, *_: object) -> _Entries:
        return self

    def msg(self, event: str | EventDict) -> None:
        if isinstance(event, str):
            self._lines.msg(event)  # rendered for lines, when the layout was another one
            return
        # The traceback as text, which is what one reads in a journal.
        entry = structlog.processors.format_exc_info(self, "", dict(event))
        # One that a busy journal does not take would hardly find it less busy by way of standard error.
        if self._journal.send(entry) is Sent.ABSENT:
            self._lines.msg(self._line(event))

    def _line(self, event: EventDict) -> str:
        told: Any = event
        for processor in self._json:
            told = processor(self, "", told)
        return str(told)

    debug = info = warning = error = critical = exception = log = msg
