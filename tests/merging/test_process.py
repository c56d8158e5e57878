"""The process of a trial: what comes of it, and that it never outlives its use."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from schedulerd.merging.events import Impossible, Tried, from_line
from schedulerd.merging.process import Failed, Trial
from schedulerd.merging.verdict import Run, TrialJob
from tests.profiles import tiny

PATIENCE_S = 60.0


@pytest.fixture
def job(tmp_path: Path) -> TrialJob:
    """A route of two real blocks that may be one."""
    for number, data in enumerate((tiny.stem(16), tiny.head(16))):
        (tmp_path / str(number)).write_bytes(data)
    blobs = (tmp_path / "0", tmp_path / "1")
    return TrialJob(1, tiny.FRAME, blobs, (Run(0, 2),), (tmp_path / "merged" / "a.onnx",), budget_s=0.2)


@contextmanager
def trial(job: TrialJob, command: Sequence[str] | None = None, silence_s: float = PATIENCE_S) -> Iterator[Trial]:
    made = Trial(job, time.monotonic, command, silence_s)
    try:
        yield made
    finally:
        made.close()


def outcome(of: Trial) -> Tried | Impossible | Failed:
    """What came of it in the end."""
    until_s = time.monotonic() + PATIENCE_S
    while (found := of.poll()) is None:
        assert time.monotonic() < until_s, "it neither ends nor hangs"
        time.sleep(0.01)  # another process is at work, and nothing here tells when it has said something
    return found


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def test_a_trial_ends_with_a_verdict_on_each_run(job: TrialJob) -> None:
    with trial(job) as made:
        found = outcome(made)
    assert isinstance(found, Tried)
    (verdict,) = found.verdicts
    assert not verdict.fault
    assert verdict.chain_ms > 0
    assert job.files[0].exists() == verdict.faster


def test_without_onnx_it_says_what_to_install(job: TrialJob) -> None:
    """`None` in sys.modules makes the import fail as if the package were absent."""
    program = 'import sys; sys.modules["onnx"] = None; from schedulerd.merging.worker import main; main()'
    with trial(job, (*python(program), str(os.getpid()))) as made:
        assert outcome(made) == Impossible("the package onnx is not installed: pip install 'schedulerd[build]'")


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_blocks(job: TrialJob, tmp_path: Path) -> None:
    (tmp_path / "merged").write_bytes(b"")
    with trial(job) as made:
        found = outcome(made)
    assert isinstance(found, Impossible)
    assert "cannot be kept" in found.reason


def test_a_blob_that_cannot_be_loaded_fails_for_good(job: TrialJob) -> None:
    job.blobs[1].write_bytes(b"not a graph")
    with trial(job) as made:
        found = outcome(made)
    assert isinstance(found, Failed)
    assert found.lasting


def test_a_crash_is_told_and_lasts(job: TrialJob) -> None:
    with trial(job, python("import os; os.abort()")) as made:
        found = outcome(made)
    assert isinstance(found, Failed)
    assert found.lasting
    assert "abort" in found.reason.lower()


def test_one_that_is_killed_from_outside_may_be_tried_again(job: TrialJob) -> None:
    with trial(job, python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")) as made:
        found = outcome(made)
    assert isinstance(found, Failed)
    assert not found.lasting


def test_a_hang_is_ended(job: TrialJob) -> None:
    with trial(job, python("import time; time.sleep(3600)"), silence_s=0.1) as made:
        found = outcome(made)
    assert isinstance(found, Failed)
    assert found.lasting
    assert found.reason


def test_closing_ends_the_process(job: TrialJob, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    program = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(3600)"
    with trial(job, python(program)) as made:
        until_s = time.monotonic() + PATIENCE_S
        while not (told.exists() and told.read_text()):
            assert time.monotonic() < until_s
            assert made.poll() is None
            time.sleep(0.01)  # as above
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


@pytest.mark.parametrize("line", [b"", b"warning: something", b"[]", b"{}", b'{"event":"tried"}', b'{"event":"x"}'])
def test_a_line_that_is_no_event_is_passed_over(line: bytes) -> None:
    """Libraries print."""
    assert from_line(line) is None
