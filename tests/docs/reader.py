"""Somebody who follows the pages word by word, in a folder of their own: builds, serves, writes apps, operates."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pytest

from schedulerd import cli, ctl
from schedulerd.demo.digits import held_out
from schedulerd_client import Client, ControlClient, EventStream, SchedulerdClientError
from tests.docs.pages import ROOT, Command, commands, python_of
from tests.docs.table import IN_ITS_PLACE, INTO_A_FOLDER, NAMED, OFTEN, UNITS
from tests.integration.daemons import PATIENCE_S, until

CONFIG: Final = """
[limits]
utilisation = {utilisation}
[engine]
lanes = {lanes}
merge = false
[profile]
seconds = 0.5
background = false
[solver]
record = "4MB"
"""
APPS: Final = {
    "gate": ("digits-residual", 46, 8),
    "plates": ("digits-plain", 28, 5),
    "shelf": ("digits-depthwise", 31, 2),
    "cam1": ("digits-residual", 60, 1),
}
"""Of the examples: model, budget and priority."""
SMALL: Final = "--epochs 1 --fit-routes 2 --check-routes 2 --calibration-images 16 --validation-images 32"
"""What makes a build short whose figures mean nothing."""
DEPENDS: Final = ("still exceeds", "costs")
"""Labels in a shown answer that are there or not, as the board is quicker or slower."""


@functools.cache
def frames() -> Any:
    """Frames that the demo's networks take."""
    return held_out().images


class Patient(ControlClient):
    """Listens to events for a moment, where an operator goes on."""

    def events(self, kinds: Sequence[str], timeout_s: float | None = None) -> EventStream:
        """Those of half a second."""
        return super().events(kinds, 0.5)


class Enough(Exception):
    """An app that would go on for ever has been seen to work."""


class Reader:
    """Their folder, their daemon, and which pages they have followed."""

    def __init__(
        self, folder: Path, profiles: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Args: folder: empty; profiles: what is known of the demo's store on this machine; the others: pytest's."""
        self._folder, self._profiles, self._capfd, self._monkeypatch = folder, profiles, capfd, monkeypatch
        self._state, self._runtime = folder / "state", folder / "run"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []
        self._seen: set[str] = set()
        self._shown = {command.text for command in commands() if command.shown}
        self._utilisation = 0.8
        self.pages: set[str] = set()

    def __enter__(self) -> Self:
        for place in ("schedulerd", "clients", "docs"):
            (self._folder / place).symlink_to(ROOT / place)
        (self._folder / "card").mkdir()
        (self._folder / "conf.d").mkdir()
        (self._folder / "conf.d" / "10-camera.toml").write_text("[limits]\nmemory_reserve = '32MB'")
        (self._state / "store").mkdir(parents=True)
        self._profiles.mkdir(exist_ok=True)
        (self._state / "profiles").symlink_to(self._profiles)
        # The store that an example names in the folder, and the one that is taken where none is named.
        (self._folder / "store").symlink_to(self._state / "store")
        self._monkeypatch.chdir(self._folder)
        self._monkeypatch.setenv("STATE_DIRECTORY", str(self._state))
        self._monkeypatch.setenv("RUNTIME_DIRECTORY", str(self._runtime))
        self.has_reconfigured(lanes=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        if self._daemon is not None:
            self._daemon.terminate()
            assert self._daemon.wait(PATIENCE_S) == 0, (self._folder / "log").read_text()

    # The pages' order: a network of their own, the daemon, apps, and then what operators do.

    def builds_and_imports(self) -> None:
        """docs/own-model.md up to serving, with a build that is cut short; README's import."""
        (module,) = python_of(ROOT / "docs" / "own-model.md")
        (self._folder / "mine.py").write_text(module)
        for command in ("schedulerd store import schedulerd/demo/demo-store.tar", *self._builds()):
            assert self._ended(command) == 0, self._capfd.readouterr()
            self._seen.add(command)
        assert "mine: accuracy" in self._capfd.readouterr().out

    def _builds(self) -> Iterator[str]:
        for command in commands():
            if command.page == "own-model.md" and command.text.startswith("schedulerd build "):
                self._seen.add(command.text)
                yield command.text if "--explain" in command.text else f"{command.text} {SMALL}"

    def starts_the_daemon(self) -> None:
        """README's `schedulerd run --config board.toml`; with `--store ./store` it would be the same store."""
        command = [sys.executable, "-m", "schedulerd", "run", "--config", "board.toml", "--store", "./store"]
        with (self._folder / "log").open("wb") as log:
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._seen |= {"schedulerd run --store ./store", "schedulerd run --config board.toml"}
        with self._control() as control:
            until("the daemon's first answer", lambda: self._answers(control))
            assert {model["model"] for model in control.models()["models"]} > {"mine", "digits-plain"}

    def _answers(self, control: ControlClient) -> dict[str, Any] | None:
        assert self._daemon is not None
        assert self._daemon.poll() is None, (self._folder / "log").read_text()
        try:
            return control.status()
        except SchedulerdClientError:
            return None

    def writes_the_apps(self) -> None:
        """The Python of the pages and the examples that they name; then the apps that operators are shown with."""
        first, dropping = python_of(ROOT / "docs" / "first-app.md")
        assert python_of(ROOT / "README.md") == [first]
        (self._folder / "app.py").write_text(first)
        assert len(self._lines_of(first, most=3)) == 3
        assert self._lines_of(dropping, most=200)
        with Client(self._runtime) as client:
            for snippet in python_of(ROOT / "docs" / "exits.md"):
                exec(snippet, {"client": client, "frame": frames()[0]})  # noqa: S102 (our own page)
        with Client(self._runtime) as client:
            client.register("mine", budget_ms=20, rate_hz=10)
            assert client.infer(np.zeros((32, 32, 3), np.uint8)).outputs.shape == (1, 2)
        for app, (model, budget_ms, priority) in APPS.items():
            self._clients.append(Client(self._runtime))
            self._clients[-1].register(model, budget_ms, rate_hz=5, priority=priority, app=app)
            self._clients[-1].infer(frames()[0])

    def _lines_of(self, program: str, most: int) -> list[str]:
        """What an app prints, up to so many lines."""
        printed: list[str] = []

        def show(*values: object) -> None:
            printed.append(" ".join(map(str, values)))
            if len(printed) == most:
                raise Enough

        program = program.replace("Client()", f"Client({str(self._runtime)!r})")
        with contextlib.suppress(Enough):
            exec(program, {"print": show})  # noqa: S102 (our own page)
        return printed

    # Commands.

    def runs(self, command: Command) -> None:
        """Run it as it stands, or what the table has in its place, and compare it with what the page shows."""
        self.pages.add(command.page)
        if command.text.startswith(OFTEN) and not command.shown and command.text in self._seen | self._shown:
            return
        self._seen.add(command.text)
        self._capfd.readouterr()
        if command.text in BEFORE:
            BEFORE[command.text](self)
        code = self._ended(f"{command.text} --help" if command.text in NAMED else self._meant(command.text))
        out, err = self._capfd.readouterr()
        assert code in self._expected(command), f"{command.page}: {command.text}: {code}\n{err}"
        missing = [label for label in outline(command.shown) if label not in out + err]
        assert not missing, f"{command.page}: {command.text}\n{out}{err}"

    def _meant(self, text: str) -> str:
        text = IN_ITS_PLACE.get(text, text)
        if text.startswith(UNITS):
            return f"{text} {INTO_A_FOLDER}"
        if " | " in text:  # the camera's frames come from the demo
            text = text.partition(" | ")[2]
        if "replay" in text:
            decisions = (self._state / "decisions.jsonl").read_text().splitlines()[:3]
            (self._folder / "decisions.jsonl").write_text("\n".join(decisions))
            text = re.sub(r"--number \d+", "--number 2", text)
        return re.sub(r"\bAPP\b", "gate", text)

    def _expected(self, command: Command) -> tuple[int, ...]:
        """A reload leaves something for a restart; a replay's code says whether a plan is worse on this machine."""
        if command.text in ENDS:
            return (ENDS[command.text],)
        return (0, 1) if "replay" in command.text and "--help" not in command.text else (0,)

    def _ended(self, text: str) -> int:
        program, *words = shlex.split(text)
        try:
            if program == "schedctl":
                return ctl.main(words, connect=lambda runtime, timeout_s: self._control(timeout_s))
            if program == "schedulerd":
                return cli.main(words)
            return self._python(words)
        except SystemExit as end:
            return int(end.code or 0)

    def _python(self, words: list[str]) -> int:
        """A program of the pages, as `python PROGRAM ...` runs it."""
        path, *rest = words
        if path == "app.py":  # it was run already, and does not end
            return 0
        where = [str(self._runtime)] if path.endswith("ten_lines.py") else ["--runtime", str(self._runtime)]
        rest = [re.sub(r"^5$", "0.5", word) for word in rest]
        self._monkeypatch.setattr(sys, "argv", [path, *rest, *where])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(frames()[:3].tobytes())))
        runpy.run_path(path, run_name="__main__")
        return 0

    def _control(self, timeout_s: float = 65.0) -> Patient:
        return Patient(self._runtime, timeout_s=timeout_s)

    # What a page takes to be so when it shows a command.

    def has_reconfigured(self, lanes: int = 2) -> None:
        """The file has another share of the lanes' time than the daemon, and more lanes."""
        (self._folder / "board.toml").write_text(CONFIG.format(utilisation=self._utilisation, lanes=lanes))
        self._utilisation = 1.4 - self._utilisation

    def has_mistyped(self) -> None:
        """A key of the file is misspelt."""
        (self._folder / "board.toml").write_text("[limits]\nutilization = 0.5")

    def has_asked_for_too_much(self) -> None:
        """`gate` cannot have its budget, so that something binds it."""
        with self._control() as control:
            control.set_budget("gate", 0.1)


BEFORE: Final[dict[str, Callable[[Reader], None]]] = {
    "schedctl reload": Reader.has_reconfigured,
    "schedctl why gate": Reader.has_asked_for_too_much,
    "schedulerd run --config board.toml": Reader.has_mistyped,
    "schedulerd check-config": Reader.has_reconfigured,
    "schedulerd check-config board.toml": Reader.has_reconfigured,
}
ENDS: Final = {"schedctl reload": 4, "schedulerd run --config board.toml": 1}


def outline(shown: Sequence[str]) -> list[str]:
    """What of an output is there whatever the figures are: headings in capitals, what stands before a gap, errors."""
    headings = [heading for line in shown for heading in re.findall(r"\b[A-Z]{2,}\b", line)]
    labels = [match[1] for line in shown if (match := re.match(r" *([A-Za-z][\w -]*?)(?:  |:$)", line))]
    errors = [line.partition(", ...")[0] for line in shown if line.startswith(("schedctl: ", "schedulerd: "))]
    return [label for label in (*headings, *labels, *errors) if not label.startswith(DEPENDS)]
