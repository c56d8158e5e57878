"""The merger: when it tries, what it takes, how it steps back, and that nothing of it stays behind."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from blockprofiles.record import Row
from blockstore.block import Model, TensorSpec
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.merger import PAUSE_S, Merged, Merger
from schedulerd.control.merging import SETTLED_S
from schedulerd.control.switcher import Switcher
from schedulerd.merging.cache import VerdictCache
from schedulerd.merging.events import Impossible, Tried
from schedulerd.merging.process import Failed
from schedulerd.merging.verdict import Run, TrialJob, Verdict
from schedulerd.plan import EMPTY_PLAN, AppPlan, Plan, Route, difference
from schedulerd.serving.apps import LiveApp
from tests.control.tables import table_of
from tests.fakes import PATIENCE_S, FakeClock
from tests.serving.parts import AddBlock, live_app

MB = 1_000_000
MODEL = Model("m", TensorSpec("uint8", (2,)), TensorSpec("float32", (2,)), 0.9, 10, ())
LATENCY_MS = dict(zip("abcdef", (1.0, 1.0, 2.0, 1.0, 1.0, 1.0), strict=True))
CATALOGUE = Catalogue(
    {"m": MODEL}, table_of(*(Row(d, "onnxruntime", 1, ms, 2 * ms, MB) for d, ms in LATENCY_MS.items())), "onnxruntime"
)
GRAPH = b"merged"
FASTER = Verdict(10.0, 9.0, 0.01, 3 * MB, hashlib.sha256(GRAPH).hexdigest())
SLOWER = Verdict(10.0, 11.0, 0.01, 3 * MB)


class FakeTrial:
    """A trial that ends as the test says; where it finds a gain, the graph is there."""

    def __init__(self, job: TrialJob) -> None:
        self.job = job
        self.outcome: Tried | Impossible | Failed | None = None
        self.closed = False

    def poll(self) -> Tried | Impossible | Failed | None:
        return self.outcome

    def close(self) -> None:
        self.closed = True

    def end(self, verdict: Verdict) -> None:
        """The same verdict on all runs."""
        for file in self.job.files:
            if verdict.faster:
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(GRAPH)
        self.outcome = Tried((verdict,) * len(self.job.runs))


class Stage:
    """A merger with a real switcher, whose trials the test ends."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.folder = folder
        self.switcher = Switcher(lambda digest, _: AddBlock(), lambda _: None, self.clock, lambda: None)  # type: ignore[arg-type,return-value]  # no heads here
        self.trials: list[FakeTrial] = []
        self.fault: Exception | None = None
        self.plan = EMPTY_PLAN
        self.apps: dict[str, LiveApp] = {}
        self.limit_bytes = 100 * MB
        self.catalogue = CATALOGUE
        self.idle = True
        self.budgets_ms: dict[str, float] = {}
        """Of apps that have another one than most; 4 ms leave no room beside what is predicted."""
        self.merger = self.restarted()

    def restarted(self) -> Merger:
        """Another merger on the same folder."""
        cache = VerdictCache(self.folder, "board")
        return Merger(self.switcher, cache, self._start, Path, self._load, self.clock)

    def _start(self, job: TrialJob) -> FakeTrial:
        if self.fault is not None:
            raise self.fault
        self.trials.append(FakeTrial(job))
        return self.trials[-1]

    def _load(self, path: Path, threads: int) -> Any:
        assert path.read_bytes() == GRAPH
        return AddBlock(100.0)

    def go(self, **routes: str) -> None:
        """Put a plan in place: `go(cam="abc")`."""
        apps = tuple(
            AppPlan(name, Route("m", tuple(digests), tuple(digests)), 2.0, 4.0, 0.9, 2 * MB, 0.1, (1.0,))
            for name, digests in routes.items()
        )
        plan: Plan = replace(EMPTY_PLAN, number=self.plan.number + 1, apps=apps)
        self.apps = {name: self.apps.get(name) or live_app(name, self.budgets_ms.get(name, 50.0)) for name in routes}
        self.switcher.apply(plan, difference(self.plan, plan), self.apps, self.limit_bytes, self.catalogue)
        self.plan = plan

    def tick(self, seconds: float = 0.0) -> tuple[Merged, ...]:
        """A turn of the control loop, after some time."""
        self.clock.advance(seconds)
        self.switcher.tidy(self.limit_bytes, self.catalogue.size_bytes)
        return self.merger.tick(
            self.plan, self.apps, self.catalogue, idle=self.idle, memory_limit_bytes=self.limit_bytes
        )

    def until_merged(self) -> tuple[Merged, ...]:
        """Turns until the loader thread is done."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            if done := self.tick():
                return done
        raise TimeoutError("nothing was merged")

    def merged(self, verdict: Verdict = FASTER) -> tuple[Merged, ...]:
        """Let the present plan settle, end its trial, and put in place what it found."""
        self.tick()
        self.tick(SETTLED_S)
        self.trials[-1].end(verdict)
        return self.until_merged()

    def share(self, *uids: int) -> None:
        """All apps, of these users, send streams that others send too."""
        for app, uid in zip(self.apps.values(), uids, strict=True):
            app.uid, app.shares_stream = uid, True

    def blocks(self, app: str = "cam") -> int:
        """Loaded blocks on the route of an app."""
        route = self.apps[app].route
        assert route is not None
        return len(route.blocks)

    def resident_mb(self) -> float:
        return self.switcher.resident_bytes(CATALOGUE.size_bytes) / MB


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "merged")
    yield made
    made.merger.close()
    made.switcher.close()


class TestTrying:
    def test_a_route_is_tried_when_it_has_stood_for_a_while(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.tick()
        stage.tick(SETTLED_S - 1)
        assert stage.trials == []
        stage.tick(1)
        (trial,) = stage.trials
        assert trial.job.runs == (Run(0, 3),)
        assert trial.job.blobs == (Path("a"), Path("b"), Path("c"))

    def test_a_change_of_the_route_starts_the_wait_anew(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.tick()
        stage.clock.advance(SETTLED_S - 1)
        stage.go(cam="abd")
        stage.tick()
        stage.tick(SETTLED_S - 1)
        assert stage.trials == []

    def test_nothing_is_tried_on_a_busy_board(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.idle = False
        stage.tick()
        stage.tick(SETTLED_S)
        assert stage.trials == []

    def test_a_trial_is_ended_when_the_board_gets_busy_and_made_again_later(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        stage.idle = False
        stage.tick()
        assert stage.trials[0].closed
        stage.idle = True
        stage.tick()
        assert len(stage.trials) == 1
        stage.tick(PAUSE_S)
        assert len(stage.trials) == 2

    def test_one_route_is_tried_at_a_time(self, stage: Stage) -> None:
        stage.go(cam="abc", gate="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        stage.tick()
        assert len(stage.trials) == 1

    def test_beside_other_apps_runs_are_short(self, stage: Stage) -> None:
        """`c` takes 2 ms, all others 1 ms."""
        stage.budgets_ms = {"gate": 4.0}
        stage.go(cam="abcde", gate="f")
        stage.tick()
        stage.tick(SETTLED_S)
        assert stage.trials[0].job.runs == (Run(0, 2), Run(3, 5))

    def test_a_verdict_holds_over_a_restart(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        stage.trials[0].end(SLOWER)
        stage.tick()
        stage.merger = stage.restarted()
        stage.tick()
        stage.tick(SETTLED_S)
        assert len(stage.trials) == 1

    def test_what_makes_trials_impossible_is_said_once(self, stage: Stage) -> None:
        stage.go(cam="abc")
        with capture_logs() as logs:
            stage.tick()
            stage.tick(SETTLED_S)
            stage.trials[0].outcome = Impossible("the package onnx is not installed")
            stage.tick()
            stage.go(cam="abd")
            stage.tick()
            stage.tick(SETTLED_S)
        assert [entry["reason"] for entry in logs if entry["event"] == "merging_off"] == [
            "the package onnx is not installed"
        ]
        assert len(stage.trials) == 1

    def test_no_process_is_no_fault_of_the_daemon(self, stage: Stage) -> None:
        stage.fault = OSError("out of processes")
        stage.go(cam="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        stage.fault = None
        stage.tick()
        assert stage.trials == []

    @pytest.mark.parametrize(("lasting", "again"), [(True, 0), (False, 1)])
    def test_a_hang_is_remembered_over_a_restart_and_a_kill_is_not(
        self, stage: Stage, lasting: bool, again: int
    ) -> None:
        stage.go(cam="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        stage.trials[0].outcome = Failed("it hangs", lasting)
        stage.tick()
        stage.tick()
        assert len(stage.trials) == 1, "not in this process, in any case"
        stage.merger = stage.restarted()
        stage.tick()
        stage.tick(SETTLED_S)
        assert len(stage.trials) == 1 + again

    def test_closing_ends_the_trial(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        stage.merger.close()
        assert stage.trials[0].closed


class TestPuttingInPlace:
    def test_what_is_faster_takes_the_place_of_its_blocks(self, stage: Stage) -> None:
        stage.go(cam="abc")
        (merged,) = stage.merged()
        assert (merged.app_id, merged.runs) == ("cam", (Run(0, 3),))
        assert merged.gain == pytest.approx(1.0 / 4.0), "one of the four ms that the profile says"
        assert stage.blocks() == 1
        route = stage.apps["cam"].route
        assert route is not None
        assert [(e.first, e.last) for e in route.expected] == [(0, 2)]
        assert route.expected[0].median_ms == pytest.approx(4.0), "predictions add up the rows of the blocks"
        assert stage.tick() == (), "it is told once"

    def test_what_is_slower_is_left(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        stage.trials[0].end(SLOWER)
        stage.tick()
        stage.tick()
        assert stage.blocks() == 3
        assert stage.resident_mb() == 3

    def test_its_memory_counts(self, stage: Stage) -> None:
        """The blocks stay, for the next plan."""
        stage.go(cam="abc")
        stage.merged()
        assert stage.resident_mb() == 3 + 3
        assert stage.switcher.states() == {"live": 4}

    def test_it_is_given_back_when_the_route_changes(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.merged()
        old = stage.apps["cam"].route
        assert old is not None
        old.pins.take()
        stage.go(cam="abd")
        stage.tick()
        assert stage.blocks() == 3
        assert stage.resident_mb() == 4 + 3, "a request still runs on it"
        old.pins.release()
        stage.tick()
        assert stage.resident_mb() == 4

    def test_coming_back_to_a_route_needs_no_trial(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.merged()
        stage.go(cam="abd")
        stage.tick()
        stage.go(cam="abc")
        stage.tick()
        stage.clock.advance(SETTLED_S)
        stage.until_merged()
        assert stage.blocks() == 1
        assert len(stage.trials) == 1

    def test_an_app_that_joins_ends_it_at_once(self, stage: Stage) -> None:
        """It would wait for the whole route, where the plan says for one block."""
        stage.budgets_ms = {"gate": 4.0}
        stage.go(cam="abc")
        stage.merged()
        stage.go(cam="abc", gate="f")
        stage.tick()
        assert stage.blocks() == 3
        stage.tick()
        assert stage.resident_mb() == 4

    def test_runs_that_keep_nobody_waiting_stay_when_an_app_joins(self, stage: Stage) -> None:
        """`a` and `b` together take no longer than `c`."""
        stage.budgets_ms = {"gate": 4.0, "door": 4.0}
        stage.go(cam="abc", gate="f")
        stage.merged()
        assert stage.blocks() == 2
        stage.go(cam="abc", gate="f", door="e")
        stage.tick()
        assert stage.blocks() == 2

    def test_what_still_costs_nobody_a_budget_stays_when_less_would_be_merged_anew(self, stage: Stage) -> None:
        """The run is 2 ms longer than `c`: the room of 3 ms that is left allows that, of which 1 ms would be used."""
        stage.go(cam="abc")
        stage.merged()
        stage.budgets_ms = {"gate": 7.0}
        stage.go(cam="abc", gate="f")
        stage.tick()
        stage.tick(SETTLED_S)
        assert stage.blocks() == 1
        stage.apps["gate"].spec = replace(stage.apps["gate"].spec, budget_ms=5.0)
        stage.tick()
        assert stage.blocks() == 3

    def test_apps_whose_frames_make_a_batch_are_not_merged_apart(self, stage: Stage) -> None:
        batches = [Row("a", "onnxruntime", 1, 1.0, 1.5, MB, batch=4)]
        single = [Row(d, "onnxruntime", 1, ms, 2 * ms, MB) for d, ms in LATENCY_MS.items()]
        stage.catalogue = replace(CATALOGUE, table=table_of(*single, *batches))
        stage.go(cam="abc", gate="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        assert stage.trials[0].job.runs == (Run(0, 2),)

    @pytest.mark.parametrize(("uids", "blocks"), [((7, 7), (2, 2)), ((7, 8), (2, 1))], ids=["theirs", "of two users"])
    def test_apps_of_one_stream_are_merged_alike(
        self, stage: Stage, uids: tuple[int, int], blocks: tuple[int, int]
    ) -> None:
        """Else neither has what the other's blocks gave. Nobody's requests are due before those of `gate`."""
        stage.budgets_ms = {"gate": 7.0}
        stage.go(cam="abc", gate="abc")
        stage.share(*uids)
        stage.merged()
        stage.tick()
        if len(stage.trials) > 1:
            stage.trials[1].end(FASTER)
            stage.until_merged()
        assert (stage.blocks("cam"), stage.blocks("gate")) == blocks

    def test_an_app_that_comes_to_share_a_stream_is_merged_as_the_other(self, stage: Stage) -> None:
        """Its long run would cost no budget, but the other app may not be merged so any more."""
        stage.go(cam="abc")
        stage.merged()
        stage.budgets_ms = {"gate": 7.0}
        stage.go(cam="abc", gate="abc")
        stage.share(7, 7)
        stage.tick()
        assert (stage.blocks("cam"), stage.blocks("gate")) == (3, 3)

    def test_two_apps_on_one_route_share_a_session(self, stage: Stage) -> None:
        """Neither is due earlier when it comes later, so both have all of their blocks merged."""
        stage.go(cam="abc", gate="abc")
        stage.merged()
        stage.tick()
        assert (stage.blocks("cam"), stage.blocks("gate")) == (1, 1)
        assert stage.resident_mb() == 3 + 3

    def test_it_is_not_loaded_where_memory_is_short(self, stage: Stage) -> None:
        stage.limit_bytes = 6 * MB
        stage.go(cam="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        stage.trials[0].end(FASTER)
        for _ in range(3):
            assert stage.tick() == ()
        assert stage.resident_mb() == 3

    def test_under_memory_pressure_it_goes_before_anything_else(self, stage: Stage) -> None:
        stage.go(cam="def")
        stage.go(cam="abc")
        stage.merged()
        assert stage.resident_mb() == 6 + 3
        stage.limit_bytes = 7 * MB
        stage.tick()
        assert stage.blocks() == 3
        stage.tick()
        assert stage.resident_mb() == 6, "what is warm stays"

    def test_nothing_else_goes_while_a_request_still_runs_on_it(self, stage: Stage) -> None:
        """Its memory comes back in a moment."""
        stage.go(cam="def")
        stage.go(cam="abc")
        stage.merged()
        old = stage.apps["cam"].route
        assert old is not None
        old.pins.take()
        stage.limit_bytes = 7 * MB
        stage.tick()
        stage.tick()
        assert stage.switcher.states() == {"live": 3, "warm": 3, "draining": 1}
        old.pins.release()
        stage.tick()
        assert stage.resident_mb() == 6

    def test_a_damaged_graph_is_made_again_once(self, stage: Stage) -> None:
        stage.go(cam="abc")
        for count in (1, 2):
            stage.tick()
            stage.tick(SETTLED_S)
            assert len(stage.trials) == count
            stage.trials[-1].end(FASTER)
            stage.trials[-1].job.files[0].write_bytes(b"damaged")
            with capture_logs() as logs:
                while not any(entry["event"] == "merge_not_loaded" for entry in logs):
                    stage.tick()
        stage.tick()
        stage.tick(SETTLED_S)
        assert len(stage.trials) == 2
        assert stage.blocks() == 3

    def test_a_session_that_is_on_its_way_for_a_route_that_changes_is_let_go(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.tick()
        stage.tick(SETTLED_S)
        stage.trials[0].end(FASTER)
        stage.tick()
        stage.go(cam="abd")
        stage.tick()
        assert stage.resident_mb() == 4

    def test_a_session_that_failed_as_it_ran_is_not_put_back_before_a_restart(self, stage: Stage) -> None:
        stage.go(cam="abc")
        stage.merged()
        assert stage.blocks() == 1
        stage.merger.distrust(tuple(stage.switcher.sessions("cam").values()), "it gave NaN")
        stage.switcher.merge("cam", ())
        for _ in range(5):
            assert stage.tick(SETTLED_S) == ()
            assert (stage.blocks(), stage.resident_mb()) == (3, 3)
        stage.merger = stage.restarted()
        stage.tick()
        stage.tick(SETTLED_S)
        stage.until_merged()
        assert stage.blocks() == 1
