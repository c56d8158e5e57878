"""The switcher: loads what is missing, swaps between two requests, frees only what has drained."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from blockprofiles.record import Row
from blockstore.exits import NO_EXITS, ExitPolicy
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.holdings import LOAD_TIMEOUT_S, LoadFailed, LoadTimedOut
from schedulerd.control.switcher import Switcher
from schedulerd.plan import EMPTY_PLAN, AppPlan, Plan, Route, difference
from schedulerd.serving.apps import LiveApp
from tests.control.exiting import EXITING
from tests.control.tables import table_of
from tests.fakes import FakeClock
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
        self.switcher = Switcher(self._load, self._load_head, self.clock, lambda: self.clock.advance(LOAD_TIMEOUT_S))
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
