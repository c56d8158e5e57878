"""The view on a real pseudo-terminal and in a pipe, beside a control that answers from memory."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from schedulerd.top.run import as_lines, as_pages, as_picture, live, looked
from schedulerd_client import Unreachable

ENDS_S = 10.0


class Daemon:
    """Answers of a daemon with one app; it goes away when it is told to."""

    def __init__(self) -> None:
        self.budget_ms = 20.0
        self.edits: list[tuple[str, float]] = []
        self.away_at: int | None = None
        self.asked = 0
        self.plans = 0
        self.number = 1

    def status(self) -> Mapping[str, Any]:
        self.asked += 1
        if self.away_at is not None and self.asked >= self.away_at:
            raise Unreachable("the daemon went away")
        return {"version": "1", "requests": self.asked, "plan": self.number}

    def apps(self) -> Mapping[str, Any]:
        return {"apps": [{"app": "cam", "budget_ms": self.budget_ms, "measured_p95_ms": 12.0}]}

    def plan(self) -> Mapping[str, Any]:
        self.plans += 1
        return {"number": self.number}

    def set_budget(self, app: str, budget_ms: float) -> Mapping[str, Any]:
        self.edits.append((app, budget_ms))
        self.budget_ms = budget_ms
        return {"app": app, "budget_ms": budget_ms, "plan": 2, "sentence": "as it was"}


class Terminal:
    """A pseudo-terminal, and all that was drawn on it."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.drawn = b""
        self._file = os.fdopen(os.dup(self.slave), "w")
        self.console = Console(file=self._file, force_terminal=True, width=120, height=30)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                found = os.read(self.master, 4096)
            except OSError:
                return
            if not found:
                return
            self.drawn += found

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> str:
        """What was drawn, when all of it has been."""
        self._file.close()
        os.close(self.slave)
        self._reader.join(ENDS_S)
        os.close(self.master)
        return self.drawn.decode()


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def wait_for(holds: Callable[[], bool]) -> None:
    """Ask again and again; fails after `ENDS_S`."""
    until_s = time.monotonic() + ENDS_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


@pytest.mark.parametrize(("keys", "budget_ms"), [(b"\x1b[C", 22.0), (b"b35\r", 35.0)], ids=["a step", "typed"])
def test_an_edit_is_carried_out_and_said(terminal: Terminal, keys: bytes, budget_ms: float) -> None:
    """The look after an edit comes at once, however long looks are apart."""
    daemon = Daemon()
    arguments = (daemon, ENDS_S, None, terminal.console, terminal.slave)
    thread = threading.Thread(target=live, args=arguments, daemon=True)
    thread.start()
    # What was typed before the terminal is read key by key is thrown away.
    wait_for(lambda: b"cam" in terminal.drawn)
    terminal.type(keys)
    wait_for(lambda: bool(daemon.edits) and b"as it was" in terminal.drawn)
    terminal.type(b"q")
    thread.join(ENDS_S)
    assert not thread.is_alive()
    assert daemon.edits == [("cam", budget_ms)]
    terminal.end()


def test_a_daemon_that_goes_away_is_shown_and_asked_again(terminal: Terminal) -> None:
    daemon = Daemon()
    daemon.away_at = 2
    live(daemon, 0.01, 4, terminal.console, terminal.slave)
    assert daemon.asked == 4
    assert "the daemon went away" in terminal.end()


def test_a_daemon_that_is_not_there_is_an_error(terminal: Terminal) -> None:
    daemon = Daemon()
    daemon.away_at = 1
    with pytest.raises(Unreachable):
        live(daemon, 0.01, 1, terminal.console, terminal.slave)
    terminal.end()


def test_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    as_lines(Daemon(), 0.001, 2)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"]["requests"] for line in lines] == [1, 2]
    assert lines[0]["apps"][0]["app"] == "cam"


def test_a_pipe_gets_pages(capsys: pytest.CaptureFixture[str]) -> None:
    as_pages(Daemon(), 0.001, 2, Console(width=100, force_terminal=False))
    assert capsys.readouterr().out.count("cam") == 2


def test_a_picture_is_drawn_of_the_last_look(tmp_path: Path) -> None:
    daemon = Daemon()
    as_picture(daemon, 0.001, 3, tmp_path / "top.svg")
    assert daemon.asked == 3
    assert "cam" in (tmp_path / "top.svg").read_text()


def test_a_look_is_drawn_once_and_again_for_a_key(terminal: Terminal) -> None:
    """Drawing takes most of what the view costs."""
    daemon = Daemon()
    live(daemon, 0.2, 3, terminal.console, terminal.slave)
    assert terminal.end().count("best is") == 3


def test_a_plan_that_stands_is_not_asked_for_at_every_look() -> None:
    daemon = Daemon()
    first = looked(daemon)
    again = looked(daemon, first)
    assert (daemon.plans, again.plan, again.status["requests"]) == (1, first.plan, 2)
    for _ in range(4):
        again = looked(daemon, again)
    assert daemon.plans == 2, "the board has moved its figures"
    daemon.number = 2
    assert looked(daemon, again).plan["number"] == 2


def test_a_look_is_all_that_is_drawn() -> None:
    look = looked(Daemon())
    assert (look.status["version"], look.apps[0]["app"], look.plan["number"]) == ("1", "cam", 1)
