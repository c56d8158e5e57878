"""Profiles by a worker that does what a test says: crashes, hangs, dies, and what is kept of it all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from blockprofiles.cache import Cache
from blockprofiles.effort import QUICK, STANDARD, Effort
from blockprofiles.events import Progress
from blockprofiles.foreign import import_table
from blockprofiles.record import FOREIGN, MEASURED, Row
from blockprofiles.table import Table
from blockstore.errors import CorruptBlob
from schedulerd.profiling.profile import Manner, Profile, Subject, load_or_measure
from tests.integration.daemons import until
from tests.profiles.scripted import Clock, ScriptedEngine, model_of
from tests.profiles.test_process import gone

WORKER = Path(__file__).with_name("scripted_worker.py")
LETTERS = tuple("abcdefghijklmnop")


class Engine(ScriptedEngine):
    """The main engine, which nobody runs here."""

    threads = 1


def subject(folder: Path, *digests: str, state: str = "state") -> Subject:
    """A model of one block with these variants."""
    return Subject((model_of(digests),), (Engine(Clock(), {}),), Path, folder / state)


def manner(folder: Path, *words: str, effort: Effort = STANDARD, **changes: Any) -> Manner:
    """Measuring by the scripted worker; `words` change how it behaves."""
    return replace(Manner(effort, silence_s=1.0, command=(sys.executable, str(WORKER), str(folder), *words)), **changes)


def begun(folder: Path) -> list[str]:
    """The blobs that workers have begun, in order."""
    path = folder / "begun"
    return path.read_text().split() if path.exists() else []


def job(folder: Path) -> dict[str, Any]:
    """What the last worker was told."""
    told: dict[str, Any] = json.loads((folder / "job.json").read_text())
    return told


def kept(subject: Subject) -> Table:
    """What is on disk."""
    return Cache(subject.directory, subject.device).load()


@pytest.mark.parametrize(
    ("digest", "reason"),
    [
        ("segv", "signal 11, Segmentation fault"),
        ("abort", "signal 6, Aborted (terminate called after throwing)"),
        ("exit3", "ended with code 3"),
        ("hang", "it hangs: nothing came of it in 1 s"),
        ("chatty", "it hangs: nothing came of it in 1 s"),
        ("killed", "killed from outside again and again"),
        ("fault", "its output is wrong"),
        ("wears", "signal 11, Segmentation fault"),
    ],
)
def test_a_blob_that_ends_its_process_is_marked_and_the_rest_goes_on(tmp_path: Path, digest: str, reason: str) -> None:
    """Said once, kept, and not tried again by the next start."""
    these = subject(tmp_path, "a", digest, "z")
    with capture_logs() as logs:
        table = load_or_measure(these, manner(tmp_path))
    (marked,) = table.unusable
    assert marked.digest == digest
    assert reason in marked.reason
    assert {row.digest for row in table.rows} == {"a", "z"}
    assert [(log["event"], log["digest"]) for log in logs] == [("blob_unusable", digest)]
    before = begun(tmp_path)
    assert load_or_measure(these, manner(tmp_path)) == table == kept(these)
    assert begun(tmp_path) == before


def test_what_a_blob_started_ends_with_it(tmp_path: Path) -> None:
    load_or_measure(subject(tmp_path, "hang"), manner(tmp_path))
    pid = int((tmp_path / "hog").read_text())
    until("the end of what the blob started", lambda: gone(pid))


def test_a_process_that_somebody_ends_is_no_fault_of_its_blob(tmp_path: Path) -> None:
    """A service that is stopped gets the same signal as its workers."""
    table = load_or_measure(subject(tmp_path, "a", "termonce"), manner(tmp_path))
    assert table.unusable == ()
    assert {row.digest for row in table.rows} == {"a", "termonce"}


def test_several_crashes_of_one_store_leave_the_others(tmp_path: Path) -> None:
    table = load_or_measure(subject(tmp_path, "a", "segv1", "segv2", "abort", "exit3", "z"), manner(tmp_path))
    assert {u.digest for u in table.unusable} == {"segv1", "segv2", "abort", "exit3"}
    assert {row.digest for row in table.rows} == {"a", "z"}


def test_an_engine_that_crashes_on_everything_is_given_up(tmp_path: Path) -> None:
    with capture_logs() as logs:
        table = load_or_measure(subject(tmp_path, *(f"segv{n:02}" for n in range(40))), manner(tmp_path))
    assert len(table.unusable) == 20
    assert (logs[-1]["event"], logs[-1]["log_level"]) == ("profile_given_up", "warning")


def test_a_worker_that_says_nothing_at_all_is_given_up(tmp_path: Path) -> None:
    """Nobody can tell what is wrong; no blob is to blame."""
    with capture_logs() as logs:
        table = load_or_measure(subject(tmp_path, "a"), manner(tmp_path, "mute", silence_s=0.1))
    assert [(log["event"], log["restarts"]) for log in logs] == [("profile_given_up", 3)]
    assert (table.rows, table.unusable) == ((), ())


def test_a_worker_that_fails_after_its_last_blob_leaves_everything_measured(tmp_path: Path) -> None:
    table = load_or_measure(subject(tmp_path, "a", "later"), manner(tmp_path, "undone"))
    assert {row.digest for row in table.rows} == {"a", "later"}
    assert table.unusable == ()


def test_a_worker_that_cannot_be_started_is_a_warning(tmp_path: Path) -> None:
    with capture_logs() as logs:
        table = load_or_measure(subject(tmp_path, "a"), Manner(STANDARD, command=("/no-such-program",)))
    assert table.rows == ()
    assert [log["event"] for log in logs] == ["profile_not_started"]


def test_noise_on_the_pipe_is_let_go(tmp_path: Path) -> None:
    table = load_or_measure(subject(tmp_path, "noise"), manner(tmp_path))
    assert table.row("noise").source == MEASURED


def test_a_slow_blob_that_tells_of_itself_is_not_killed(tmp_path: Path) -> None:
    """It takes half a second here, where a silence of 0.4 s is the limit."""
    table = load_or_measure(subject(tmp_path, "slow"), manner(tmp_path, silence_s=0.4))
    assert table.unusable == ()


def test_time_that_is_up_ends_it(tmp_path: Path) -> None:
    """Whatever hangs, a daemon serves in the end."""
    with capture_logs() as logs:
        table = load_or_measure(subject(tmp_path, "a", "hang"), manner(tmp_path, silence_s=60.0, limit_s=2.0))
    assert table.unusable == ()
    assert logs[-1]["event"] == "profile_cut_short"


def test_a_directory_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with capture_logs() as logs:
        table = load_or_measure(subject(tmp_path, "a", "b"), manner(tmp_path))
    assert {row.digest for row in table.rows} == {"a", "b"}
    assert [log["event"] for log in logs] == ["profile_unreadable", "profile_not_kept"]


def test_a_busy_machine_is_told_with_the_share_and_the_remedy(tmp_path: Path) -> None:
    with capture_logs() as logs:
        load_or_measure(subject(tmp_path, "busy"), manner(tmp_path))
    (log,) = logs
    assert (log["event"], log["others"]) == ("profile_disturbed", 0.4)
    assert "40%" in log["reason"]
    assert "--force" in log["remedy"]


def test_a_damaged_blob_is_left_out_and_tried_again(tmp_path: Path) -> None:
    """It is not marked, for it may be mended."""

    def path_of(digest: str) -> Path:
        if digest == "damaged":
            raise CorruptBlob("the bytes of damaged are not those of its name")
        return Path(digest)

    these = replace(subject(tmp_path, "a", "damaged"), path_of=path_of)
    with capture_logs() as logs:
        table = load_or_measure(these, manner(tmp_path))
    assert [log["event"] for log in logs] == ["blob_not_measured"]
    assert table.missing(["a", "damaged"]) == ("damaged",)
    assert table.unusable == ()
    load_or_measure(subject(tmp_path, "a", "damaged"), manner(tmp_path))
    assert begun(tmp_path) == ["a", "damaged"]


def test_what_the_quick_effort_has_left_out_is_measured_by_a_longer_one(tmp_path: Path) -> None:
    """The quick one is content with anything; it is told what is lacking, not the alternates."""
    these = subject(tmp_path, "a", "b")
    load_or_measure(these, manner(tmp_path, effort=QUICK))
    assert job(tmp_path)["alternates"] is False
    load_or_measure(subject(tmp_path, "a", "b", "c"), manner(tmp_path, effort=QUICK))
    assert job(tmp_path)["only"] == ["c"]
    load_or_measure(these, manner(tmp_path, effort=replace(STANDARD, uncertainty=0.0001)))
    assert job(tmp_path)["only"] == ["a", "b"]
    assert {row["digest"]: row["complete"] for row in job(tmp_path)["table"]["rows"]} == {
        "a": False,
        "b": False,
        "c": False,
    }


def test_force_measures_everything_again(tmp_path: Path) -> None:
    """Also what was marked; the old rows stand until then."""
    these = subject(tmp_path, "a", "fault")
    load_or_measure(these, manner(tmp_path))
    load_or_measure(these, manner(tmp_path, force=True))
    assert begun(tmp_path) == ["a", "fault", "a", "fault"]
    rows = job(tmp_path)["table"]["rows"]
    assert [(row["digest"], row["latency_ms"], row["samples_ms"], row["complete"]) for row in rows] == [
        ("a", 1.0, [], False)
    ]


def test_the_budget_of_a_restart_is_what_is_left(tmp_path: Path) -> None:
    load_or_measure(subject(tmp_path, "a", "hang", "z"), manner(tmp_path, budget_s=5.0))
    assert 0 <= job(tmp_path)["budget_s"] <= 4.0


def test_progress_never_falls_and_what_the_watcher_raises_ends_the_worker(tmp_path: Path) -> None:
    shares: list[float] = []

    def watch(progress: Progress) -> None:
        shares.append(progress.share)

    load_or_measure(subject(tmp_path, "a", "segv", "z"), manner(tmp_path), watch=watch)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    class Enough(Exception):
        """The daemon is told to stop."""

    def refuse(_: Progress) -> None:
        raise Enough

    with pytest.raises(Enough):
        load_or_measure(subject(tmp_path, "hang2", state="other"), manner(tmp_path), watch=refuse)


def test_foreign_rows_fill_what_could_not_be_measured_and_are_not_saved(tmp_path: Path) -> None:
    these = subject(tmp_path, "a", "damaged")
    theirs = Table(replace(these.device, cores=64), (Row("damaged", "scripted", 1, 3.0, 4.0, 1000),), "then")
    theirs.save(tmp_path / "theirs.json")
    import_table(tmp_path / "theirs.json", these.directory, these.device)
    unreadable = replace(these, path_of=lambda digest: Path(digest) if digest == "a" else _missing())
    with capture_logs():
        table = load_or_measure(unreadable, manner(tmp_path))
    assert {row.digest: row.source for row in table.rows} == {"a": MEASURED, "damaged": FOREIGN}
    assert {row.digest for row in kept(these).rows} == {"a"}


def _missing() -> Path:
    raise CorruptBlob("gone")


def test_rows_of_engines_that_do_not_run_are_kept_and_not_served(tmp_path: Path) -> None:
    """A block must not be planned on an engine that the configuration has dropped."""
    these = subject(tmp_path, "a")
    cache = Cache(these.directory, these.device)
    quicker = Row("a", "torch", 1, 0.1, 0.2, 1000)
    cache.save(cache.load().merged([quicker], "then"))
    table = load_or_measure(these, manner(tmp_path))
    assert [row.engine for row in table.rows] == ["scripted"]
    assert {row.engine for row in kept(these).rows} == {"scripted", "torch"}


def test_what_is_known_besides_is_gone_on_with(tmp_path: Path) -> None:
    """Where nothing can be saved, the daemon's own table is all there is."""
    (tmp_path / "state").write_text("in the way")
    with capture_logs():
        table = load_or_measure(subject(tmp_path, "a"), manner(tmp_path))
        Profile(subject(tmp_path, "a", "b"), manner(tmp_path), known=table).run()
    assert begun(tmp_path) == ["a", "b"]


PROGRAM = """
import sys
from pathlib import Path
from tests.profiling.test_profile import LETTERS, load_or_measure, manner, subject
load_or_measure(subject(Path(sys.argv[1]), *LETTERS), manner(Path(sys.argv[1]), "slowly"))
"""


@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path: Path, victim: str) -> None:
    """What is on disk is whole, stays, and is not measured again; nothing is left running, no blob is blamed."""
    these = subject(tmp_path, *LETTERS)
    chances = random.Random(victim)  # noqa: S311 - any moments do
    for _ in range(4):
        before, known = len(begun(tmp_path)), {row.digest for row in kept(these).rows}
        parent = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)])
        wanted = before + chances.randint(1, 3)
        until("some blobs", partial(_begun_at_least, tmp_path, wanted))
        (worker,) = _children(parent.pid)
        if victim == "worker":
            os.kill(worker, signal.SIGKILL)
            until("a worker in its place", partial(_begun_at_least, tmp_path, wanted + 1))
            (worker,) = _children(parent.pid)
        parent.kill()
        parent.wait(10)
        until("the end of the worker", partial(gone, worker))
        assert known <= {row.digest for row in kept(these).rows}
        assert not known & set(begun(tmp_path)[before:])
        assert kept(these).unusable == ()
    table = load_or_measure(these, manner(tmp_path))
    assert {row.digest for row in table.rows} == set(LETTERS)
    assert table.contention.lanes


def _begun_at_least(folder: Path, count: int) -> bool:
    return len(begun(folder)) >= count


def _children(pid: int) -> Sequence[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_stopping_keeps_what_there_is(tmp_path: Path) -> None:
    """From another thread, as the improver does."""
    these = subject(tmp_path, *LETTERS)
    stop: list[Callable[[], None]] = []
    profile = Profile(these, manner(tmp_path, "slowly"), watch=lambda p: stop[0]() if p.share > 0.2 else None)
    stop.append(profile.stop)
    table = profile.run()
    assert 0 < len(table.rows) < len(LETTERS)
    assert table == kept(these)


def test_the_worker_measures_on_the_device_of_the_main_engine(tmp_path: Path) -> None:
    """Which the engine itself does not tell."""
    load_or_measure(replace(subject(tmp_path, "a"), runs_on="cuda:1"), manner(tmp_path))
    assert job(tmp_path)["device"] == "cuda:1"
