"""The switcher: loads what is missing, swaps between two requests, frees only what has drained."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from blockprofiles.record import Row
from blockstore.exits import NO_EXITS, ExitPolicy
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.holdings import Form, LoadFailed, LoadTimedOut
from schedulerd.control.loader import LOAD_TIMEOUT_S
from schedulerd.control.switcher import Swaps, Switcher
from schedulerd.plan import EMPTY_PLAN, AppPlan, Plan, Route, difference
from schedulerd.serving.apps import LiveApp
from tests.control.exiting import EXITING
from tests.control.tables import table_of
from tests.fakes import PATIENCE_S, FakeClock
from tests.serving.parts import AddBlock, SureHead, live_app

MB = 1_000_000
CATALOGUE = Catalogue({}, table_of(*(Row(d, "onnxruntime", 1, 1.0, 2.0, MB) for d in "abcdef")), "onnxruntime")


def plan_of(number: int = 1, **routes: str) -> Plan:
    """`plan_of(cam="ab")`: app `cam` runs the blobs `a` and `b`."""
    apps = tuple(
        AppPlan(name, Route("m", tuple(digests), tuple(digests)), 2.0, 4.0, 0.9, 2 * MB, 0.1, (1.0, 1.0))
        for name, digests in routes.items()
    )
    return replace(EMPTY_PLAN, number=number, apps=apps)


class Stage:
    """A switcher with blobs that load at once, unless they are in `damaged`."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.catalogue = CATALOGUE
        self.loads: list[str] = []
        """As blocks."""
        self.head_loads: list[str] = []
        self.damaged: set[str] = set()
        self.stuck: set[str] = set()
        self.freed = threading.Event()
        """Set: loads of what was stuck end."""
        self.on_beat: Callable[[], None] = lambda: self.clock.advance(LOAD_TIMEOUT_S)
        """Called while the switcher waits for a load."""
        self.switcher = Switcher(self._load, self._load_head, self.clock, lambda: self.on_beat())
        self.plan = EMPTY_PLAN
        self.apps: dict[str, LiveApp] = {}

    def _load(self, digest: str, row: Row) -> Any:
        if digest in self.damaged:
            raise ValueError("bad magic")
        if digest in self.stuck:
            self.freed.wait(30)
        self.loads.append(digest)
        return AddBlock()

    def _load_head(self, digest: str) -> Any:
        if digest in self.damaged:
            raise ValueError("bad magic")
        self.head_loads.append(digest)
        return SureHead()

    def go(self, plan: Plan, limit_bytes: int = 100 * MB) -> None:
        for app in plan.apps:
            if app.app_id not in self.apps:
                self.apps[app.app_id] = live_app(app.app_id)
                self.apps[app.app_id].route = None
        self.switcher.apply(plan, difference(self.plan, plan), self.apps, limit_bytes, self.catalogue)
        self.plan = plan

    def digests(self, app: str) -> str:
        route = self.apps[app].route
        return "" if route is None else "".join(route.route.digests)


@pytest.fixture
def stage() -> Any:
    made = Stage()
    yield made
    made.switcher.close()


HEADS = Catalogue({"m": EXITING}, CATALOGUE.table, "onnxruntime")


def plan_with_heads(number: int, digests: str, heads: str, policy: ExitPolicy = NO_EXITS) -> Plan:
    """App `cam` runs these blobs and has these heads loaded."""
    plan = plan_of(number, cam=digests)
    route = replace(plan.apps[0].route, policy=policy, heads=tuple(heads))
    return replace(plan, apps=(replace(plan.apps[0], route=route),))


def test_heads_are_loaded_as_heads_and_counted_like_blocks(stage: Stage) -> None:
    stage.catalogue = HEADS
    stage.go(plan_with_heads(1, "abc", "de"))
    assert stage.head_loads == ["d", "e"]
    assert sorted(stage.loads) == ["a", "b", "c"]
    assert stage.switcher.states() == {"live": 5}
    assert stage.switcher.resident_bytes(size) == 5 * MB


def test_heads_drain_with_their_route_and_are_evicted_like_blocks(stage: Stage) -> None:
    stage.catalogue = HEADS
    stage.go(plan_with_heads(1, "abc", "de"))
    old = stage.apps["cam"].route
    assert old is not None
    old.pins.take()
    stage.go(plan_with_heads(2, "a", "d"))
    stage.switcher.tidy(0, size)
    assert stage.switcher.states() == {"live": 2, "draining": 3}
    old.pins.release()
    stage.switcher.tidy(0, size)
    assert stage.switcher.states() == {"live": 2}


def test_a_damaged_head_leaves_every_app_on_its_route(stage: Stage) -> None:
    stage.catalogue = HEADS
    stage.go(plan_with_heads(1, "abc", "d"))
    stage.damaged = {"e"}
    with pytest.raises(LoadFailed, match="bad magic") as failed:
        stage.go(plan_with_heads(2, "abc", "de"))
    assert list(failed.value.reasons) == ["e"]
    assert stage.apps["cam"].route is not None
    assert stage.apps["cam"].route.plan == 1


def size(digest: str) -> int:
    return MB


def wait_for(holds: Callable[[], bool]) -> None:
    """Ask again and again; fails after `PATIENCE_S`."""
    until_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.001)


class SlowStage(Stage):
    """A stage whose loads take the time that they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.cost_s: dict[str, float] = {"a": 1.0}

    def _load(self, digest: str, row: Row) -> Any:
        self.clock.advance(self.cost_s.get(digest, 0.0))
        return super()._load(digest, row)


def test_a_plan_is_loaded_and_put_in_place(stage: Stage) -> None:
    stage.go(plan_of(cam="ab", gate="bc"))
    assert (stage.digests("cam"), stage.digests("gate")) == ("ab", "bc")
    assert sorted(stage.loads) == ["a", "b", "c"]
    assert stage.switcher.states() == {"live": 3}


def test_a_swap_loads_only_the_blocks_that_differ(stage: Stage) -> None:
    stage.go(plan_of(1, cam="ab"))
    stage.loads.clear()
    stage.go(plan_of(2, cam="ac"))
    assert (stage.digests("cam"), stage.loads) == ("ac", ["c"])
    assert stage.apps["cam"].route is not None
    assert stage.apps["cam"].route.plan == 2


def test_the_arena_is_as_large_as_the_most_that_anything_loaded_needs(stage: Stage) -> None:
    needs = {"a": 3, "b": 5, "c": 4, "d": 9}
    assert stage.switcher.arena_bytes(needs.__getitem__) == 0
    stage.go(plan_of(1, cam="ab", gate="c"))
    assert stage.switcher.arena_bytes(needs.__getitem__) == 5


def test_resident_is_what_need_not_be_loaded_whether_or_not_it_is_on_a_route(stage: Stage) -> None:
    assert stage.switcher.resident() == frozenset()
    stage.go(plan_of(1, cam="ab"))
    stage.go(plan_of(2, cam="ac"))
    assert stage.switcher.resident() == {"a", "b", "c"}
    stage.switcher.tidy(2 * MB, stage.catalogue.size_bytes)
    assert stage.switcher.resident() == {"a", "c"}


def test_swapping_back_loads_nothing(stage: Stage) -> None:
    stage.go(plan_of(1, cam="ab"))
    stage.go(plan_of(2, cam="cd"))
    stage.loads.clear()
    stage.go(plan_of(3, cam="ab"))
    assert stage.loads == []


def test_blocks_of_a_route_in_use_drain_before_they_may_be_evicted(stage: Stage) -> None:
    stage.go(plan_of(1, cam="ab"))
    old = stage.apps["cam"].route
    assert old is not None
    old.pins.take()
    stage.go(plan_of(2, cam="cd"))
    assert stage.switcher.states() == {"live": 2, "draining": 2}
    stage.switcher.tidy(0, size)
    assert stage.switcher.states() == {"live": 2, "draining": 2}
    old.pins.release()
    stage.switcher.tidy(100 * MB, size)
    assert stage.switcher.states() == {"live": 2, "warm": 2}
    stage.switcher.tidy(0, size)
    assert stage.switcher.states() == {"live": 2}


def test_room_is_made_before_loading(stage: Stage) -> None:
    stage.go(plan_of(1, cam="ab"))
    stage.go(plan_of(2, cam="cd"), limit_bytes=4 * MB)
    assert stage.switcher.resident_bytes(size) == 4 * MB
    stage.clock.advance(1)
    stage.go(plan_of(3, cam="ce"), limit_bytes=4 * MB)
    assert stage.switcher.resident_bytes(size) == 4 * MB
    assert stage.switcher.states() == {"live": 2, "warm": 2}


def test_a_damaged_blob_leaves_every_app_on_its_route(stage: Stage) -> None:
    stage.go(plan_of(1, cam="ab"))
    stage.damaged = {"d"}
    with pytest.raises(LoadFailed, match="bad magic") as failed:
        stage.go(plan_of(2, cam="cd"))
    assert list(failed.value.reasons) == ["d"]
    assert stage.digests("cam") == "ab"
    stage.go(plan_of(2, cam="ca"))
    assert stage.digests("cam") == "ca"


def test_all_damaged_blobs_of_a_plan_are_told_at_once(stage: Stage) -> None:
    stage.damaged = {"a", "c"}
    with pytest.raises(LoadFailed) as failed:
        stage.go(plan_of(1, cam="abc"))
    assert sorted(failed.value.reasons) == ["a", "c"]


def test_a_loader_that_takes_too_long_is_no_fault_of_the_blob(stage: Stage) -> None:
    stage.go(plan_of(1, cam="ab"))
    stage.stuck = {"c"}
    with pytest.raises(LoadTimedOut, match="2 of 2 blobs"):
        stage.go(plan_of(2, cam="cd"))
    assert stage.digests("cam") == "ab"
    stage.freed.set()
    stage.go(plan_of(2, cam="cd"))
    assert stage.digests("cam") == "cd"


def test_an_app_that_leaves_frees_its_blocks(stage: Stage) -> None:
    stage.go(plan_of(1, cam="ab", gate="bc"))
    stage.apps.pop("cam")
    stage.go(plan_of(2, gate="bc"))
    assert stage.switcher.states() == {"live": 2, "warm": 1}


def test_the_expected_time_of_a_route_comes_from_the_profile(stage: Stage) -> None:
    stage.go(plan_of(1, cam="ab"))
    route = stage.apps["cam"].route
    assert route is not None
    assert sum(block.p95_ms for block in route.expected) == 4.0


class TestEviction:
    """What saves the least time for its bytes goes first."""

    @pytest.fixture
    def slow(self) -> Iterator[Stage]:
        """Blob `a` takes a second to load, the others none."""
        made = SlowStage()
        yield made
        made.switcher.close()

    def test_what_is_dear_to_load_stays_though_it_was_used_longer_ago(self, slow: Stage) -> None:
        for number, digests in enumerate("abc"):
            slow.go(plan_of(number, cam=digests))
            slow.clock.advance(1)
        slow.switcher.tidy(2 * MB, size)
        assert slow.switcher.resident() == {"a", "c"}

    def test_what_is_on_a_route_often_is_worth_more(self, slow: Stage) -> None:
        slow.cost_s = dict.fromkeys("abcdef", 1.0)
        for number, digests in enumerate("ababcd"):
            slow.go(plan_of(number, cam=digests))
        slow.switcher.tidy(3 * MB, size)
        assert slow.switcher.resident() == {"a", "b", "d"}

    def test_what_is_never_used_again_goes_in_the_end_however_dear_it_was(self, slow: Stage) -> None:
        """Each that is evicted lifts those that come after it."""
        slow.cost_s = {"a": 2.5, **dict.fromkeys("bcdef", 1.0)}
        for number, digests in enumerate("abcdef"):
            slow.go(plan_of(number, cam=digests), limit_bytes=3 * MB)
        assert "a" not in slow.switcher.resident()


class TestLoadingAhead:
    """What no plan wants yet is loaded without waiting, and a plan that wants it waits for that load."""

    @pytest.fixture
    def running(self, stage: Stage) -> Stage:
        stage.go(plan_of(1, cam="ab"))
        return stage

    def absent(self, stage: Stage) -> dict[str, Form]:
        return {form.digest: form for form in stage.switcher.absent(plan_of(2, cam="ac"), stage.catalogue)}

    def begin(self, stage: Stage) -> Form:
        plan = plan_of(2, cam="ac")
        ((form, load),) = stage.switcher.absent(plan, stage.catalogue).items()
        stage.switcher.begin(form, load)
        return form

    def test_a_plan_lacks_what_is_not_in_memory(self, running: Stage) -> None:
        assert self.absent(running).keys() == {"c"}
        self.begin(running)
        assert self.absent(running).keys() == set()

    def test_what_was_begun_is_warm_and_makes_the_swap_a_warm_one(self, running: Stage) -> None:
        form = self.begin(running)
        wait_for(lambda: running.switcher.taken(form))
        assert running.switcher.states() == {"live": 2, "warm": 1}
        running.go(plan_of(2, cam="ac"))
        assert running.loads.count("c") == 1
        assert running.switcher.swaps == Swaps(warm=1, cold=0)

    def test_a_plan_that_wants_what_is_on_its_way_waits_for_it(self, running: Stage) -> None:
        running.stuck = {"c"}
        self.begin(running)
        running.on_beat = running.freed.set
        running.go(plan_of(2, cam="ac"))
        assert running.digests("cam") == "ac"
        assert running.loads.count("c") == 1
        assert running.switcher.swaps == Swaps(warm=0, cold=1)

    def test_a_plan_that_wants_it_makes_no_room_for_it_a_second_time(self, running: Stage) -> None:
        running.go(plan_of(2, cam="ad"))
        running.go(plan_of(3, cam="ab"))
        running.stuck = {"c"}
        self.begin(running)
        running.on_beat = running.freed.set
        running.go(plan_of(4, cam="ac"), limit_bytes=4 * MB)
        assert running.switcher.resident() == set("abcd")

    def test_what_cannot_be_loaded_is_said_once_and_is_absent_again(self, running: Stage) -> None:
        running.damaged = {"c"}
        form = self.begin(running)
        with pytest.raises(ValueError, match="bad magic"):
            wait_for(lambda: running.switcher.taken(form))
        assert not running.switcher.holds(form)

    def test_it_counts_against_the_limit_while_it_is_loaded(self, running: Stage) -> None:
        running.stuck = {"c"}
        self.begin(running)
        assert running.switcher.resident_bytes(size) == 3 * MB
        running.freed.set()

    def test_first_routes_and_departures_are_no_swaps(self, running: Stage) -> None:
        running.go(plan_of(2, cam="ab", gate="c"))
        running.go(plan_of(3, cam="ab"))
        assert running.switcher.swaps == Swaps()


class TestUnfit:
    """What failed as it ran is let go as soon as nobody runs it."""

    def test_it_goes_when_its_route_has_drained_and_not_before(self, stage: Stage) -> None:
        stage.go(plan_of(1, cam="ab"))
        old = stage.apps["cam"].route
        assert old is not None
        old.pins.take()
        stage.switcher.let_go(("a",))
        assert stage.switcher.states() == {"live": 2}
        stage.go(plan_of(2, cam="cb"))
        assert stage.switcher.states() == {"live": 2, "draining": 1}
        old.pins.release()
        stage.switcher.tidy(100 * MB, size)
        assert stage.switcher.resident() == {"b", "c"}

    def test_what_is_only_warm_goes_at_once_and_is_loaded_anew(self, stage: Stage) -> None:
        stage.go(plan_of(1, cam="ab"))
        stage.go(plan_of(2, cam="cb"))
        stage.switcher.let_go(("a",))
        assert stage.switcher.resident() == {"b", "c"}
        stage.go(plan_of(3, cam="ab"))
        assert stage.loads.count("a") == 2


class TestThreads:
    """Blobs are loaded with the engine and threads of their rows."""

    def test_a_blob_is_loaded_as_its_row_says(self, stage: Stage) -> None:
        rows: list[Row] = []
        stage.switcher = Switcher(
            lambda digest, row: rows.append(row) or stage._load(digest, row),  # type: ignore[func-returns-value]
            stage._load_head,
            stage.clock,
            lambda: None,
        )
        stage.catalogue = catalogue_of(threads=2)
        stage.go(plan_of(1, cam="a"))
        assert [(row.digest, row.threads) for row in rows] == [("a", 2)]
        stage.switcher.close()

    def test_a_route_that_stays_is_renewed_when_its_rows_name_other_threads(self, stage: Stage) -> None:
        """Both forms are in memory until the last request on the old one has ended."""
        stage.go(plan_of(1, cam="ab"))
        old = stage.apps["cam"].route
        assert old is not None
        old.pins.take()
        stage.catalogue = catalogue_of(threads=2)
        stage.go(plan_of(2, cam="ab"))
        assert stage.apps["cam"].route is not old
        assert stage.switcher.states() == {"live": 2, "draining": 2}
        old.pins.release()
        stage.switcher.tidy(2 * MB, size)
        assert stage.switcher.states() == {"live": 2}


def catalogue_of(threads: int) -> Catalogue:
    """Each blob runs best with so many threads."""
    return replace(CATALOGUE, table=table_of(*(replace(row, threads=threads) for row in CATALOGUE.table.rows)))
