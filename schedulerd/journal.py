"""Log events as entries of systemd's journal: a line for people, and a field for every key.

The native protocol is one datagram an entry, or one memfd where that would be too long
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). `journalctl -u schedulerd` shows the lines, `journalctl -o json` the
fields; `journalctl SCHEDULERD_EVENT=plan` finds every plan.
"""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

SOCKET: Final = Path("/run/systemd/journal/socket")
PREFIX: Final = "SCHEDULERD_"
"""Of our fields: other programs' have the same words in other meanings."""
MAX_NAME: Final = 64
"""Characters of a field's name (systemd, journal_field_valid)."""
PATIENCE_S: Final = 0.1
"""For a journal that is busy; it is asked without waiting while it has not taken the entry before."""
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""By level (syslog(3))."""
_TOO_LONG: Final = (errno.EMSGSIZE, errno.ENOBUFS)
_BUSY: Final = (errno.EAGAIN, errno.ETIMEDOUT)
_FINAL_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Sent(Enum):
    """What became of an entry."""

    TAKEN = auto()
    BUSY = auto()
    """There is a journal, and its queue is full: the entry is lost."""
    ABSENT = auto()
    """Nobody listens there."""


def is_stream(named: str | None, descriptor: int) -> bool:
    """Whether a descriptor is the journal's, as `named`, systemd's `JOURNAL_STREAM`, has it (systemd.exec(5)).

    A program that was started with its output somewhere else inherits the variable all the same.
    """
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


class Journal:
    """Sends entries, from all threads; costs a thread `PATIENCE_S` at most."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(PATIENCE_S)
        self._lock = threading.Lock()

    def send(self, event: Mapping[str, Any]) -> Sent:
        """Send an event; the address is looked up each time, as the journal may have been started again."""
        entry = b"".join(_fields(event))
        with self._lock:
            try:
                self._send(entry)
            except OSError as error:
                # A time-out has no number.
                busy = isinstance(error, TimeoutError) or error.errno in _BUSY
                self._socket.settimeout(0.0 if busy else PATIENCE_S)
                return Sent.BUSY if busy else Sent.ABSENT
            self._socket.settimeout(PATIENCE_S)
            return Sent.TAKEN

    def close(self) -> None:
        """Send no more."""
        self._socket.close()

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, self._path)
        except OSError as error:
            if error.errno not in _TOO_LONG:
                raise
            self._send_as_file(entry)

    def _send_as_file(self, entry: bytes) -> None:
        descriptor = os.memfd_create("schedulerd-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            written = 0
            while written < len(entry):
                written += os.write(descriptor, entry[written:])
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _FINAL_SEALS)
            attached = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", (descriptor,)))
            self._socket.sendmsg((), (attached,), 0, self._path)
        finally:
            os.close(descriptor)


def _fields(event: Mapping[str, Any]) -> Iterator[bytes]:
    """An event with its `event` and `level` as the journal takes it."""
    yield _field("MESSAGE", message(event))
    yield _field("PRIORITY", str(_PRIORITIES.get(event.get("level", ""), 6)))
    yield _field("SYSLOG_IDENTIFIER", "schedulerd")
    for key, value in event.items():
        # A field may come several times, and is found by each of its values.
        for one in value if isinstance(value, list | tuple | set | frozenset) else (value,):
            yield _field(name_of(key), _text(one))


def message(event: Mapping[str, Any]) -> str:
    """The event's name and what there is to it, in one line; a traceback follows."""
    told = [f"{key} {_text(value)}" for key, value in event.items() if key not in _ELSEWHERE]
    line = " ".join(f"{event.get('event', '')}: {', '.join(told)}".split()).removesuffix(":")
    return f"{line}\n{event['exception']}" if event.get("exception") else line


_ELSEWHERE: Final = ("event", "level", "at_s", "exception")
"""Keys that are no part of the line."""


def name_of(key: str) -> str:
    """The field of a key: of capital letters, digits and underscores only."""
    return (PREFIX + re.sub(r"[^A-Z0-9_]", "_", key.upper()))[:MAX_NAME]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def _field(name: str, value: str) -> bytes:
    """`NAME=value`, or where that would be ambiguous the name, the length as 64 bits, little-endian, and the value."""
    # A half of a surrogate pair, which a name from a file system may hold, has no UTF-8.
    data = value.encode(errors="backslashreplace")
    if b"\n" in data:
        return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
    return b"%s=%s\n" % (name.encode(), data)
