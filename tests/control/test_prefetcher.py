"""Blobs that the next plans are likely to want are loaded before they are made, where that costs nobody anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from schedulerd.control.aside import AtOnce, Job
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.prefetcher import SETTLED_S, Prefetcher
from schedulerd.errors import Overloaded
from schedulerd.optimizer.problem import Problem
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Faulted, Left
from schedulerd.wire.messages import SetBudget, SetLimit, Status
from tests.control.stage import MB, MODEL, ROWS, Stage
from tests.control.tables import table_of
from tests.fakes import PATIENCE_S
from tests.optimizer.problems import random_problem


class FullAside:
    """An `Aside` that takes no work until it is told to."""

    def __init__(self) -> None:
        self.full = True

    def put(self, job: Job) -> None:
        if self.full:
            raise Overloaded("too many questions wait")
        job()

    def ending(self) -> bool:
        return False


class EndingAside(FullAside):
    """An `Aside` that is about to end, so that its work is left undone."""

    def put(self, job: Job) -> None:
        job()

    def ending(self) -> bool:
        return True


class Ahead(Stage):
    """A stage that looks ahead."""

    def __init__(self, **more: Any) -> None:
        self.loads: list[str] = []
        super().__init__(prefetch=True, **more)

    def _load(self, digest: str) -> Any:
        self.loads.append(digest)
        return super()._load(digest)

    def settle(self) -> None:
        """Let time pass in which nothing happens, until nothing is loaded any more."""
        self.clock.advance(SETTLED_S)
        self.turns()

    def turns(self) -> None:
        """Turns until three together find nothing to load."""
        quiet, until_s = 0, time.monotonic() + PATIENCE_S
        while quiet < 3 and time.monotonic() < until_s:
            self.loop.turn([])
            quiet = 0 if self.switcher.loading else quiet + 1
        assert quiet == 3, "something is being loaded for ever"

    def warm(self) -> int:
        return self.switcher.states().get("warm", 0)


@pytest.fixture
def stage() -> Iterator[Ahead]:
    made = Ahead()
    yield made
    made.switcher.close()


@pytest.fixture
def stages() -> Iterator[Callable[..., Ahead]]:
    made: list[Ahead] = []

    def make(**more: Any) -> Ahead:
        made.append(Ahead(**more))
        return made[-1]

    yield make
    for stage in made:
        stage.switcher.close()


def route(app: LiveApp) -> str:
    return "" if app.route is None else "".join(app.route.route.digests)


def tight(stage: Ahead) -> LiveApp:
    """An app that has room for the original blocks, and has not when they take half as long again."""
    app = stage.join(budget_ms=12.0)
    assert route(app) == "AB"
    return app


def test_the_swap_on_a_slower_board_needs_no_load(stage: Ahead) -> None:
    app = tight(stage)
    stage.settle()
    assert stage.warm() == 1
    loaded = list(stage.loads)
    stage.ask(SetBudget(3, "cam", 8.0))
    assert sorted(route(app)) != sorted("AB")
    assert stage.loads == loaded
    status = stage.ask(Status(4)).result
    assert (status["warm_swaps"], status["cold_swaps"]) == (1, 0)


def test_a_swap_that_nobody_foresaw_is_counted_as_one(stage: Ahead) -> None:
    tight(stage)
    stage.ask(SetBudget(3, "cam", 8.0))
    status = stage.ask(Status(4)).result
    assert (status["warm_swaps"], status["cold_swaps"]) == (0, 1)


def test_nothing_is_loaded_before_the_plan_has_settled(stage: Ahead) -> None:
    tight(stage)
    stage.clock.advance(SETTLED_S / 2)
    stage.turns()
    assert sorted(stage.loads) == ["A", "B"]


def test_nothing_is_loaded_where_nothing_else_is_likely(stage: Ahead) -> None:
    stage.join(budget_ms=50.0)
    stage.settle()
    assert sorted(stage.loads) == ["A", "B"]


def test_what_recent_plans_ran_is_loaded_again_when_there_is_room_for_it_again(stage: Ahead) -> None:
    app = stage.join(budget_ms=50.0)
    stage.ask(SetBudget(3, "cam", 4.0))
    assert route(app) == "ab"
    stage.ask(SetLimit(4, "memory", 3 * MB))
    assert stage.warm() == 0
    stage.ask(SetLimit(5, "memory", 50 * MB))
    stage.settle()
    assert stage.switcher.resident() == frozenset("ABab")


def test_no_more_is_loaded_than_the_memory_limit_leaves_room_for(stage: Ahead) -> None:
    """8 MB run and 1 MB would be wanted: more than nine tenths of the limit stay free of what nobody needs."""
    tight(stage)
    stage.ask(SetLimit(4, "memory", int(9.9 * MB)))
    stage.settle()
    assert stage.warm() == 0
    stage.ask(SetLimit(5, "memory", int(10.1 * MB)))
    stage.settle()
    assert stage.warm() == 1


def test_what_was_loaded_in_vain_goes_first_and_nothing_is_evicted_for_it(stage: Ahead) -> None:
    app = stage.join(budget_ms=50.0)
    stage.ask(SetBudget(3, "cam", 12.0))
    stage.settle()
    (early,) = stage.switcher.resident() - set("AB")
    stage.ask(SetLimit(4, "memory", 8 * MB))
    assert stage.switcher.resident() == {"A", "B"}
    stage.settle()
    assert early not in stage.switcher.resident()
    assert route(app) == "AB"


def test_a_plan_that_wants_what_is_being_loaded_waits_for_that_and_loads_it_once(stage: Ahead) -> None:
    app = tight(stage)
    stage.stuck = True
    stage.clock.advance(SETTLED_S)
    for _ in range(3):
        stage.loop.turn([])
    assert stage.switcher.loading
    stage.stuck = False
    stage.freed.set()
    stage.ask(SetBudget(3, "cam", 8.0))
    assert sorted(route(app)) != sorted("AB")
    assert len(stage.loads) == 3
    assert stage.ask(Status(4)).result["cold_swaps"] == 1, "it had to wait"
    stage.settle()


def test_one_blob_is_loaded_at_a_time(stage: Ahead) -> None:
    stage.join(budget_ms=50.0)
    stage.ask(SetBudget(3, "cam", 4.0))
    stage.ask(SetLimit(4, "memory", 3 * MB))
    stage.ask(SetLimit(5, "memory", 50 * MB))
    before = len(stage.loads)
    stage.stuck = True
    stage.clock.advance(SETTLED_S)
    for _ in range(5):
        stage.loop.turn([])
    assert stage.switcher.states()["loading"] == 1
    stage.freed.set()
    stage.turns()
    assert len(stage.loads) == before + 2


def test_a_blob_that_cannot_be_loaded_is_tried_once_and_harms_nobody(stage: Ahead) -> None:
    """The plan that wants it finds out for itself, as any plan does."""
    app = tight(stage)
    stage.damaged = {"a", "b"}
    stage.settle()
    stage.settle()
    assert len(stage.loads) <= 4
    assert route(app) == "AB"
    assert "fault" not in stage.kinds()


def test_what_failed_as_it_ran_is_not_loaded_ahead(stage: Ahead) -> None:
    app = stage.join(budget_ms=4.0)
    assert route(app) == "ab"
    stage.loop.turn([Faulted("cam", ("a",), "out of memory", no_numbers=True)])
    assert route(app) == "Ab"
    stage.settle()
    assert "a" not in stage.switcher.resident()


def test_it_works_without_foresight_while_the_solver_has_a_fault(stage: Ahead) -> None:
    tight(stage)
    stage.solver.broken = True
    stage.settle()
    assert stage.ask(Status(4)).result["apps"] == 1


def test_operators_who_ask_go_first(stages: Callable[..., Ahead]) -> None:
    aside = FullAside()
    stage = stages(aside=aside)
    tight(stage)
    stage.settle()
    assert stage.warm() == 0
    aside.full = False
    stage.settle()
    assert stage.warm() == 1


def test_work_that_is_ended_is_not_taken_for_an_answer(stages: Callable[..., Ahead]) -> None:
    stage = stages(aside=EndingAside())
    tight(stage)
    stage.settle()
    assert stage.warm() == 0


def test_nothing_is_loaded_for_apps_that_are_gone(stage: Ahead) -> None:
    app = stage.join(budget_ms=12.0)
    stage.registry.remove(app)
    stage.loop.turn([Left(app, "unregistered")])
    stage.settle()
    assert sorted(stage.loads) == ["A", "B"]


def test_nothing_is_even_thought_of_while_the_board_is_under_pressure_or_measured(stage: Ahead) -> None:
    tight(stage)
    catalogue = Catalogue({"m": MODEL}, table_of(*ROWS), "onnxruntime")
    prefetcher = Prefetcher(stage.switcher, stage.solver, AtOnce(), stage.clock)
    asked: list[bool] = []

    def problem(calm: bool) -> Problem:
        asked.append(calm)
        return random_problem(1)

    for calm in (False, False, True, True):
        prefetcher.tick(stage.loop.plan, 1, partial(problem, calm), catalogue, 100 * MB, calm=calm)
        stage.clock.advance(SETTLED_S)
    assert asked == [True]
