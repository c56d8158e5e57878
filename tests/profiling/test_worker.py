"""The real worker on real blocks: measured, predicted, resumed, and gone with its parent."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from blockprofiles.effort import QUICK, STANDARD, Effort
from blockprofiles.record import MEASURED, PREDICTED
from schedulerd.profiling.background import BackgroundProfile, going_on
from schedulerd.profiling.profile import Manner, Profile, Subject, load_or_measure
from schedulerd.serving.engines.alternates import engines_for
from tests.integration.daemons import until
from tests.profiles import tiny
from tests.profiles.test_process import gone

SHORT = replace(STANDARD, min_rounds=2, steady_rounds=2, max_rounds=4)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """Two tiny models, one of which has exits."""
    files = tiny.Files(tmp_path)
    models = (tiny.tiny_model(files, seed=7), tiny.model_with_exits(files))
    return Subject(models, engines_for("onnxruntime", 1), files.path, tmp_path / "profiles")


def digests(subject: Subject) -> set[str]:
    return {digest for model in subject.models for digest in model.digests()}


def test_everything_is_measured_and_what_company_does(subject: Subject) -> None:
    table = load_or_measure(subject, Manner(SHORT, budget_s=5.0))
    assert {row.digest for row in table.rows} == digests(subject)
    assert {row.source for row in table.rows} == {MEASURED}
    assert table.contention.lanes
    assert table.unusable == ()


def test_a_quick_profile_predicts_what_it_does_not_measure(subject: Subject) -> None:
    """And a longer one measures that."""
    table = load_or_measure(subject, Manner(QUICK, budget_s=5.0))
    assert {row.digest for row in table.rows} == digests(subject)
    sources = {row.digest: row.source for row in table.rows}
    assert set(sources.values()) == {MEASURED, PREDICTED}
    assert all(sources[b.variants[0].artifacts[0].digest] == MEASURED for m in subject.models for b in m.blocks)
    assert all(row.uncertainty > 0 for row in table.rows)
    longer = load_or_measure(subject, Manner(SHORT, budget_s=5.0))
    assert {row.source for row in longer.rows} == {MEASURED}


@pytest.mark.parametrize("effort", [QUICK, SHORT])
def test_a_blob_that_the_engine_refuses_is_marked(tmp_path: Path, effort: Effort) -> None:
    """An original at that, whose block's other variant takes its place, and another one like it."""
    files = tiny.Files(tmp_path)
    model = tiny.model_of(
        "odd",
        {
            "stem": (tiny.FRAME, tiny.FEATURES, [files.put(b"no graph"), files.put(tiny.stem(4))]),
            "head": (tiny.FEATURES, tiny.LOGITS, [files.put(tiny.head(16)), files.put(b"no graph either")]),
        },
    )
    subject = Subject((model,), engines_for("onnxruntime", 1), files.path, tmp_path / "profiles")
    with capture_logs():
        first = load_or_measure(subject, Manner(effort, budget_s=5.0))
        second = load_or_measure(subject, Manner(effort, budget_s=5.0))
    bad = {model.blocks[n].variants[n].artifacts[0].digest for n in (0, 1)}
    for table in (first, second):
        assert {u.digest for u in table.unusable} == bad
        assert table.missing(digests(subject)) == ()
        assert not any(digest in table for digest in bad)


def test_it_ends_with_its_parent(subject: Subject, tmp_path: Path) -> None:
    """Also when that is killed, which can tell nobody."""
    program = (
        "import sys; from pathlib import Path; from tests.profiling.test_worker import endless; endless(sys.argv[1])"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    (worker,) = until("the worker", lambda: children.read_text().split())
    parent.kill()
    parent.wait(10)
    until("the end of the worker", lambda: gone(int(worker)))


def endless(folder: str) -> None:
    """A profile that never ends."""
    files = tiny.Files(Path(folder))
    subject = Subject((tiny.tiny_model(files),), engines_for("onnxruntime", 1), files.path, Path(folder) / "profiles")
    forever = replace(STANDARD, min_rounds=10**9, steady_rounds=10**9, max_rounds=10**9)
    load_or_measure(subject, Manner(forever))


def test_a_worker_whose_parent_has_ended_before_it_began_does_nothing() -> None:
    command = [sys.executable, "-m", "schedulerd.profiling.worker", str(os.getppid())]
    done = subprocess.run(command, input=b"{}", capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    assert b"has ended" in done.stderr
    assert done.stdout == b""


def test_a_daemon_goes_on_from_its_own_table(subject: Subject) -> None:
    """With what it planned with, for the device that it was measured on."""
    table = load_or_measure(subject, Manner(QUICK, budget_s=3.0))
    run = going_on(subject, 20.0)(table)
    run.stop()
    until("its end", lambda: run.ended)
    assert run.table.device == table.device
    assert {row.digest for row in run.table.rows} == digests(subject)


def test_in_a_thread_of_its_own_it_can_be_stopped_and_keeps_what_it_has(subject: Subject) -> None:
    """The table grows while it runs; a later profile goes on."""
    forever = replace(STANDARD, min_rounds=10**9, steady_rounds=10**9, max_rounds=10**9)
    run = BackgroundProfile(Profile(subject, Manner(forever)))
    until("some rows", lambda: run.table.rows)
    run.stop()
    until("its end", lambda: run.ended)
    assert not run.table.rows[0].complete
    table = load_or_measure(subject, Manner(SHORT, budget_s=5.0))
    assert all(row.complete for row in table.rows)
