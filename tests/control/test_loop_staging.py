"""Plans in stages through the whole loop: what is kept warm makes way, and what is broken is left at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from blockprofiles.record import Row
from blockstore.block import Model
from schedulerd.config import LimitsConfig
from schedulerd.plan import App
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Joined, Left
from schedulerd.wire.messages import Apps, Pin, SetBudget
from tests.control.stage import FRAME, LOGITS, MB, ROWS, Stage, block
from tests.control.tables import table_of

OTHER = Model("n", FRAME, LOGITS, 0.9, 100, (block(0, "first", "C", "c"), block(1, "second", "D", "d")))
OTHER_ROWS = [replace(row, digest={"A": "C", "B": "D", "a": "c", "b": "d"}[row.digest]) for row in ROWS]
LIMITS = LimitsConfig(memory_bytes=100 * MB, memory_reserve_bytes=0)


class FreeMemory:
    """A source of free memory alone."""

    name = "memory"
    every_s = 0.0

    def __init__(self) -> None:
        self.free_bytes: Callable[[], int] = lambda: 1000 * MB

    def read(self) -> Mapping[str, Any]:
        return {"memory_available_bytes": self.free_bytes()}


def stage_of(memory: FreeMemory, rows: list[Row]) -> Stage:
    """With two models."""
    stage = Stage(sources=[memory], limits=LIMITS, rows=rows)
    planner = stage.loop._planner
    planner.catalogue = replace(planner.catalogue, models={**planner.catalogue.models, "n": OTHER})
    return stage


def door(stage: Stage) -> LiveApp:
    """An app of the other model joins."""
    app = LiveApp(App("door", "n", 50.0, rate_hz=10.0), b"door", FRAME, LOGITS)
    stage.registry.add(app)
    stage.loop.turn([Joined(app, 7)])
    return app


def route(stage: Stage, name: str) -> str:
    app = stage.loop.plan.app(name)
    assert app is not None
    return "".join(app.route.digests)


def test_what_is_only_kept_warm_makes_way_for_what_an_edit_wants() -> None:
    """8 MB of an app that has left, 4.5 MB free, and 4.8 MB needed for a moment."""
    memory = FreeMemory()
    stage = stage_of(memory, [*ROWS, *OTHER_ROWS])
    left = door(stage)
    stage.join("cam")
    stage.registry.remove(left)
    stage.loop.turn([Left(left, "bye")])
    assert stage.switcher.states() == {"live": 2, "warm": 2}

    def held_bytes() -> int:
        return stage.switcher.resident_bytes(lambda digest: 4 * MB if digest.isupper() else MB)

    total_bytes = held_bytes() + 9 * MB // 2
    memory.free_bytes = lambda: total_bytes - held_bytes()
    stage.ask(SetBudget(3, "cam", 8.0))
    assert route(stage, "cam") == "AB", "not yet"
    for _ in range(3):
        stage.clock.advance(0.2)
        stage.loop.turn([])
    assert route(stage, "cam") in ("aB", "Ab")


def test_an_app_leaves_a_blob_that_cannot_be_loaded_any_more_however_short_memory_is() -> None:
    """The profile wants it with other threads, in which it fails; another app moves in the same plan."""
    rows = [replace(row, memory_bytes=3 * MB) if row.digest == "a" else row for row in ROWS]
    memory = FreeMemory()
    stage = stage_of(memory, [*rows, *OTHER_ROWS])
    stage.join("cam")
    door(stage)
    stage.loop.use_table(
        table_of(*(replace(row, threads=2) if row.digest == "A" else row for row in [*rows, *OTHER_ROWS]))
    )
    stage.damaged.add("A")
    memory.free_bytes = lambda: 6 * MB
    stage.ask(SetBudget(3, "door", 8.0))
    assert route(stage, "cam")[0] == "a"
    assert route(stage, "door") == "cd"


def test_what_is_pinned_is_loaded_as_soon_as_there_is_memory_for_it() -> None:
    """1 MB takes 4.8 MB for a moment. It is worth less than what runs, so that nothing but the pin speaks for it."""
    memory = FreeMemory()
    stage = stage_of(memory, [*ROWS, *OTHER_ROWS])
    stage.join("cam")
    memory.free_bytes = lambda: 2 * MB
    answer = stage.ask(Pin(3, "cam", {"second": "small"}))
    assert answer.result["unmet_pins"] == ["second runs original now, not small"]
    assert "nothing changes yet" in answer.result["sentence"]
    for _ in range(3):
        stage.clock.advance(6.0)
        stage.loop.turn([])
        assert route(stage, "cam") == "AB"
    memory.free_bytes = lambda: 50 * MB
    stage.clock.advance(6.0)
    stage.loop.turn([])
    assert route(stage, "cam") == "Ab"
    (row,) = stage.ask(Apps(4)).result["apps"]
    assert row["unmet_pins"] == []


def test_a_pin_whose_load_was_put_off_is_followed_though_nobody_asks_again() -> None:
    stage = Stage()
    stage.join("cam")
    stage.stuck = True
    assert "tried again" in stage.ask(Pin(3, "cam", {"second": "small"})).message
    assert route(stage, "cam") == "AB"
    stage.stuck = False
    stage.freed.set()
    for _ in range(5):
        stage.clock.advance(6.0)
        stage.loop.turn([])
    assert route(stage, "cam") == "Ab"
    stage.switcher.close()
