"""What a real daemon tells the service manager, from its start to its end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemons import PATIENCE_S, Daemon, until


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service manager with a watchdog of four seconds, which daemons find in their environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", listener.getsockname())
        monkeypatch.setenv("WATCHDOG_USEC", "4000000")
        yield listener


def heard(manager: socket.socket, last: str) -> list[str]:
    """What is told, up to the first message that begins with `last`."""
    messages: list[str] = []

    def came() -> bool:
        messages.append(manager.recv(4096).decode())
        return messages[-1].startswith(last)

    until(last, came)
    return messages


@pytest.fixture
def new(store: Path, tmp_path: Path) -> Daemon:
    """A daemon that has not measured its store yet."""
    runtime = tmp_path / "run"
    runtime.mkdir()
    return Daemon(store, tmp_path / "state", runtime)


def test_the_manager_hears_of_start_life_and_end(manager: socket.socket, new: Daemon) -> None:
    process = new.spawn()
    try:
        *before, ready = heard(manager, "READY=1")
        assert ready == "READY=1\nSTATUS=serving 3 models"
        assert before, "the store was measured"
        for message in before:
            assert message.startswith("STATUS=measuring this board, ")
            assert "\nEXTEND_TIMEOUT_USEC=" in message
        assert heard(manager, "WATCHDOG=1"), "every part comes round"
        process.terminate()
        assert heard(manager, "STOPPING=1")[-1] == "STOPPING=1\nSTATUS=answering what is in flight"
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait(PATIENCE_S)
