"""The examples run as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from schedulerd.wire.messages import Code, Infer
from tests.clients.fakedaemon import FakeDaemon

EXAMPLES = Path(__file__).parents[2] / "clients" / "examples"


def run(example: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / example, *arguments],
        input=given,
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_ten_lines_classify_twenty_frames(runtime: Path) -> None:
    with FakeDaemon(runtime) as daemon:
        done = run("ten_lines.py", str(runtime))
        assert daemon.count(Infer) == 20
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("on time") == 20


def test_the_load_generator_reports_latencies_and_routes(runtime: Path) -> None:
    with FakeDaemon(runtime):
        done = run("load_generator.py", "digits", "--rate-hz", "200", "--seconds", "0.2", "--runtime", str(runtime))
    assert done.returncode == 0, done.stderr
    assert "40 frames, 40 answered, 0 late" in done.stdout
    assert "40 on original|pruned-50" in done.stdout


def test_the_load_generator_says_what_is_wrong(runtime: Path) -> None:
    done = run("load_generator.py", "digits", "--timeout-s", "0.1", "--runtime", str(runtime / "nowhere"))
    assert done.returncode == 1
    assert "no daemon at" in done.stdout


def test_the_camera_sends_whole_frames_of_its_standard_input(runtime: Path) -> None:
    three_frames_and_a_torn_one = bytes([0, 1, 2, 3, 9, 1, 2, 3, 0, 0, 7, 0, 5]).decode("latin-1")
    with FakeDaemon(runtime) as daemon:
        done = run("camera.py", "digits", "--runtime", str(runtime), given=three_frames_and_a_torn_one)
        assert daemon.count(Infer) == 3
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["three", "zero", "two"]


def test_the_camera_goes_on_when_an_operator_lets_it(runtime: Path) -> None:
    three_frames = bytes([0, 1, 2, 3, 9, 1, 2, 3, 0, 0, 7, 0]).decode("latin-1")
    with FakeDaemon(runtime, lambda r: Code.DRAINED if isinstance(r, Infer) and r.id == 3 else None):
        done = run("camera.py", "digits", "--runtime", str(runtime), given=three_frames)
    assert done.returncode == 0, done.stderr
    first, held, last = done.stdout.splitlines()
    assert (first.split()[0], held, last.split()[0]) == ("three", "scripted drained", "two")


def test_the_camera_says_what_is_wrong(runtime: Path) -> None:
    done = run("camera.py", "digits", "--runtime", str(runtime / "nowhere"))
    assert done.returncode == 1
    assert "no daemon at" in done.stderr
