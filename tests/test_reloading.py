"""The main thread's part of a reload, with a real datagram socket in place of the service manager."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedulerd.config import Config
from schedulerd.control.reloads import Reread
from schedulerd.errors import ConfigError, InternalError, SchedulerdError
from schedulerd.notify import Notifier
from schedulerd.reloading import Reloading
from schedulerd.serving.events import Asked
from schedulerd.wire.messages import Reload

ASKED = Asked(Reload(3), b"operator")


class Manager:
    """What the service manager hears, and what the control loop is handed."""

    def __init__(self, listener: socket.socket, address: str) -> None:
        self._listener = listener
        self._notifier = Notifier(address)
        self.posted: list[Reread] = []
        self.outcome: Config | Exception = Config()
        self.reloading = Reloading(self._read, self.posted.append, self._notifier)

    def heard(self) -> str:
        return self._listener.recv(4096).decode()

    def _read(self) -> Config:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield Manager(listener, str(tmp_path / "notify"))


def test_what_was_read_goes_to_the_control_loop_and_ready_waits_for_it(manager: Manager) -> None:
    manager.reloading.begin(ASKED)
    assert manager.posted == [Reread(Config(), ASKED)]
    assert manager.heard().startswith("RELOADING=1\nMONOTONIC_USEC=")
    manager.reloading.end(None)
    assert manager.heard() == "READY=1\nSTATUS=configuration reloaded"


def test_what_is_wrong_with_it_goes_there_too_and_the_manager_hears_of_it(manager: Manager) -> None:
    error = ConfigError("board.toml: is not TOML")
    manager.outcome = error
    manager.reloading.begin(None)
    assert manager.posted == [Reread(error, None)]
    manager.heard()
    manager.reloading.end(error)
    assert manager.heard() == "READY=1\nSTATUS=configuration kept, the new one is bad: board.toml: is not TOML"


def test_a_fault_of_ours_is_an_answer_too(manager: Manager) -> None:
    manager.outcome = RuntimeError("boom")
    manager.reloading.begin(ASKED)
    outcome = manager.posted[0].outcome
    assert isinstance(outcome, SchedulerdError)
    assert isinstance(outcome, InternalError)
