"""Entries of the journal: what a journal on a real socket gets, and what becomes of them without one."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schedulerd.journal import Journal, Sent, is_stream, name_of

PATIENCE_S = 10.0
SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
PLAN = {"event": "plan", "level": "info", "number": 7, "cause": "budget of cam1 50 → 25 ms", "at_s": 12.5}


class Listener:
    """The journal's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(PATIENCE_S)

    def entry(self) -> list[tuple[str, str]]:
        """The fields of the next entry, in the order they came."""
        data, descriptors, *_ = socket.recv_fds(self._socket, 1 << 20, 4)
        if not descriptors:
            return parsed(data)
        assert data == b"", "an entry comes in the datagram or in a file, never in both"
        (descriptor,) = descriptors
        try:
            assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == SEALED
            return parsed(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Stop, as a journal does that is started again."""
        self._socket.close()
        self.path.unlink()


def parsed(data: bytes) -> list[tuple[str, str]]:
    """As https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ says that an entry is read."""
    fields = []
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, end, data = data[8 : 8 + size], data[8 + size : 9 + size], data[9 + size :]
            assert end == b"\n"
        fields.append((name.decode(), value.decode()))
    return fields


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


def test_an_event_is_a_line_for_people_and_a_field_for_every_key(journal: Journal, listener: Listener) -> None:
    assert journal.send(PLAN) is Sent.TAKEN
    assert listener.entry() == [
        ("MESSAGE", "plan: number 7, cause budget of cam1 50 → 25 ms"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "schedulerd"),
        ("SCHEDULERD_EVENT", "plan"),
        ("SCHEDULERD_LEVEL", "info"),
        ("SCHEDULERD_NUMBER", "7"),
        ("SCHEDULERD_CAUSE", "budget of cam1 50 → 25 ms"),
        ("SCHEDULERD_AT_S", "12.5"),
    ]


@pytest.mark.parametrize(("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3")])
def test_levels_are_the_priorities_of_syslog(level: str, priority: str, journal: Journal, listener: Listener) -> None:
    journal.send({"event": "anything", "level": level})
    assert dict(listener.entry())["PRIORITY"] == priority


def test_an_event_without_anything_to_it_is_its_name(journal: Journal, listener: Listener) -> None:
    journal.send({"event": "stopped", "level": "info"})
    assert dict(listener.entry())["MESSAGE"] == "stopped"


def test_a_value_of_several_lines_arrives_whole_and_forges_no_field(journal: Journal, listener: Listener) -> None:
    said = "first\nPRIORITY=0\nlast"
    journal.send({"event": "client_failed", "level": "info", "reason": said})
    entry = listener.entry()
    assert [value for name, value in entry if name == "PRIORITY"] == ["6"]
    assert dict(entry)["SCHEDULERD_REASON"] == said
    assert dict(entry)["MESSAGE"] == "client_failed: reason first PRIORITY=0 last"


def test_a_traceback_is_below_the_line(journal: Journal, listener: Listener) -> None:
    trace = "Traceback:\n  line 1\nValueError: no"
    journal.send({"event": "plan_failed", "level": "error", "cause": "tick", "exception": trace})
    entry = dict(listener.entry())
    assert entry["MESSAGE"] == f"plan_failed: cause tick\n{trace}"
    assert entry["SCHEDULERD_EXCEPTION"] == trace


def test_a_list_is_found_by_each_of_its_values(journal: Journal, listener: Listener) -> None:
    journal.send({"event": "ready", "level": "info", "models": ["gate", "door"], "none": []})
    entry = listener.entry()
    assert [value for name, value in entry if name == "SCHEDULERD_MODELS"] == ["gate", "door"]
    assert "SCHEDULERD_NONE" not in dict(entry)


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "null"), (True, "true"), (0.5, "0.5"), ({"a": [1, 2]}, '{"a": [1, 2]}'), (Path("/run"), '"/run"')],
)
def test_what_is_no_text_is_written_as_json(value: Any, told: str, journal: Journal, listener: Listener) -> None:
    journal.send({"event": "odd", "level": "info", "value": value})
    assert dict(listener.entry())["SCHEDULERD_VALUE"] == told


def test_what_has_no_utf_8_is_written_as_it_can_be(journal: Journal, listener: Listener) -> None:
    assert journal.send({"event": "odd", "level": "info", "file": os.fsdecode(b"caf\xe9")}) is Sent.TAKEN
    assert dict(listener.entry())["SCHEDULERD_FILE"] == "caf\\udce9"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("apply_ms", "SCHEDULERD_APPLY_MS"),
        ("x-y z=\n", "SCHEDULERD_X_Y_Z__"),
        ("é", "SCHEDULERD__"),
        ("long" * 40, "SCHEDULERD_" + ("LONG" * 40)[:53]),
    ],
)
def test_names_are_what_the_journal_takes(key: str, name: str) -> None:
    assert name_of(key) == name
    assert len(name) <= 64


def test_an_entry_too_long_for_a_datagram_comes_as_a_sealed_file(journal: Journal, listener: Listener) -> None:
    said = "0123456789" * 100_000
    assert journal.send({"event": "long", "level": "info", "said": said}) is Sent.TAKEN
    assert dict(listener.entry())["SCHEDULERD_SAID"] == said
    journal.send({"event": "short", "level": "info"})
    assert dict(listener.entry())["MESSAGE"] == "short"


def test_no_journal_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nobody")
    assert journal.send(PLAN) is Sent.ABSENT
    journal.close()


def test_a_journal_that_is_started_again_is_found_again(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "another")
    sender = Journal(listener.path)
    assert sender.send(PLAN) is Sent.TAKEN
    listener.close()
    assert sender.send(PLAN) is Sent.ABSENT
    again = Listener(tmp_path / "another")
    assert sender.send(PLAN) is Sent.TAKEN
    assert dict(again.entry())["SCHEDULERD_EVENT"] == "plan"
    again.close()
    sender.close()


def test_a_journal_that_takes_nothing_costs_entries_and_no_more(journal: Journal, listener: Listener) -> None:
    """Its queue has room for a few (net.unix.max_dgram_qlen); the next waits, those after it do not."""
    told = [journal.send(PLAN) for _ in range(2000)]
    assert told[0] is Sent.TAKEN
    assert set(told[-100:]) == {Sent.BUSY}
    for sent in told:
        if sent is Sent.TAKEN:
            listener.entry()
    assert journal.send(PLAN) is Sent.TAKEN


def test_the_journals_stream_is_known_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        named = f"{found.st_dev}:{found.st_ino}"
        assert is_stream(named, stream.fileno())
        assert not is_stream(f"{found.st_dev}:{found.st_ino + 1}", stream.fileno())
        assert not is_stream(None, stream.fileno())
        assert not is_stream("", stream.fileno())
    assert not is_stream(named, 10_000), "a descriptor that is closed"
