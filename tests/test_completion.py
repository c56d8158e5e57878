"""Scripts for shells, tried in a real bash."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedulerd import cli, ctl
from schedulerd.completion import SHELLS

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
complete -p "$1" > /dev/null || exit 3
$(complete -p "$1" | sed -E 's/.* -F ([^ ]+) .*/\\1/') "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""Does what bash does when TAB is pressed behind these words (bash(1), "Programmable Completion")."""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sd-") as name:
        yield Path(name)


def printed(program: str, shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    main = ctl.main if program == "schedctl" else cli.main
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def completed(script: Path, *words: str, environment: dict[str, str] | None = None) -> set[str]:
    ended = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", str(script), *words],
        env=environment,
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert ended.stderr == ""
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("schedctl", "sta"), {"status"}),
        (("schedctl", "log"), {"log-level"}),
        (("schedctl", "log-level", "w"), {"warning"}),
        (("schedctl", "objective", "min"), {"min-latency", "min-energy"}),
        (("schedctl", "limit", ""), {"memory"}),
        (("schedctl", "events", "--kind", "pl"), {"plan"}),
        (("schedctl", "status", "--js"), {"--json"}),
        (("schedctl", "completion", "fi"), {"fish"}),
        (("schedctl", "--runtime", "ru"), {"run"}),
        (("schedctl", "nothing-like-it", "x"), set()),
        (("schedulerd", "che"), {"check-config"}),
        (("schedulerd", "run", "--eng"), {"--engine"}),
        (("schedulerd", "run", "--engine", "o"), {"onnxruntime"}),
        (("schedulerd", "run", "--config", "bo"), {"board.toml"}),
    ],
    ids=lambda words: " ".join(sorted(words) if isinstance(words, set) else words),
)
def test_bash_completes(
    words: tuple[str, ...], found: set[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = folder / "script"
    script.write_text(printed(words[0], "bash", capsys))
    (folder / "run").mkdir()
    (folder / "board.toml").touch()
    assert completed(script, *words) == found


def test_apps_are_those_of_the_daemon_and_their_names_run_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell expands what it completes from, and a client may call itself anything."""
    script = folder / "script"
    script.write_text(printed("schedctl", "bash", capsys))
    program = folder / "schedctl"
    table = "APP  MODEL\ncam1  digits\ncam-2.b  digits\n$(touch pwned)  digits\n`touch pwned`  digits\nother  x\n"
    (folder / "table").write_text(table)
    program.write_text(f"#!/bin/sh\ncat '{folder}/table'\n")
    program.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    assert completed(script, "schedctl", "budget", "", environment=environment) == {"cam1", "cam-2.b", "other"}
    assert completed(script, "schedctl", "why", "cam", environment=environment) == {"cam1", "cam-2.b"}
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("program", ["schedctl", "schedulerd"])
def test_every_shell_has_a_script_that_it_can_read(
    program: str, shell: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = folder / "script"
    script.write_text(printed(program, shell, capsys))
    assert re.search(rf"\b{program}\b", script.read_text())
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here to read it")
    subprocess.run([shell, "-n", str(script)], check=True, timeout=30)
