"""The loop follows the board: a kernel's files through sources, limits and decisions, on a clock that the test sets."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedulerd.wire.messages import SetBudget, SetLimit, Status
from tests.control.board_tree import LIMITS, LOOK_S, Tree, Watched
from tests.control.stage import MB, ROWS
from tests.control.tables import table_of

Make = Callable[..., Watched]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "board")


@pytest.fixture
def make(tree: Tree) -> Iterator[Make]:
    """Makes a loop on the tree with an app that runs its largest route, 8 MB in size and busy for 60% of the lane."""
    made: list[Watched] = []

    def watched(*args: Any, **parts: Any) -> Watched:
        new = Watched(tree, *args, **parts)
        made.append(new)
        new.stage.join(rate_hz=60.0)
        assert new.stage.loop.plan.memory_bytes == 8 * MB
        return new

    yield watched
    for each in made:
        each.close()


def ramp(board: Watched, from_mb: float, to_mb: float, seconds: float) -> list[float]:
    """Free memory goes from one amount to the other; what is free at each change of the plan."""
    changed_at, steps = [], round(seconds / LOOK_S)
    for step in range(steps + 1):
        free_mb, before = from_mb + (to_mb - from_mb) * step / steps, board.stage.loop.plan.number
        # What our blobs give back is free again.
        board.tree.free(free_mb * MB + (8 * MB - board.held_bytes))
        board.look()
        if board.stage.loop.plan.number != before:
            changed_at.append(free_mb)
    return changed_at


# Memory.


def test_memory_that_runs_out_shrinks_the_plan_before_the_reserve_is_reached(make: Make) -> None:
    board = make()
    changed_at = ramp(board, 200.0, 70.0, 13.0)
    assert changed_at, "the plan follows"
    assert min(changed_at) > 64.0
    assert board.held_bytes < 8 * MB
    plan = board.events("plan")[-1]
    assert plan["memory_bytes"] < 8 * MB
    assert "free memory fell by 10" in plan["cause"]
    (changed,) = plan["changes"]
    assert changed["before"] != changed["after"] == ["small", "small"]
    assert {"look_ms", "solve_ms", "apply_ms"} <= plan.keys()


def test_what_was_given_up_comes_back_later_than_it_went(make: Make) -> None:
    board = make()
    ramp(board, 200.0, 60.0, 14.0)
    went_s = board.stage.clock.now_s()
    assert board.stage.loop.plan.memory_bytes < 8 * MB
    board.tree.free(200 * MB)
    board.looks(9.0)
    assert board.stage.loop.plan.memory_bytes < 8 * MB
    while board.stage.loop.plan.memory_bytes < 8 * MB:
        board.look()
        assert board.stage.clock.now_s() < went_s + 60.0, "it comes back"
    assert board.stage.clock.now_s() - went_s > 9.0
    board.looks(30.0)
    assert board.stage.ask(Status(1)).result["memory_limit_reason"] == "the board's free memory less the reserve"
    assert board.events("pressure")[-1]["causes"] == []


def test_smaller_blocks_are_loaded_when_there_is_memory_to_load_them(make: Make) -> None:
    """Each of them is 1 MB, and takes 4.8 MB while it is loaded: a kernel that is short kills in that moment."""
    board = make()
    board.tree.free(3 * MB)
    board.look()
    assert board.stage.loop.plan.memory_bytes == 8 * MB
    assert "more memory for a moment than the 3.0 MB that are free" in board.events("kept")[-1]["reason"]
    assert "the rest follows" in board.stage.loop.plan.note
    board.tree.free(20 * MB)
    board.looks(6.0)
    assert board.stage.loop.plan.memory_bytes < 8 * MB


def test_an_edit_that_has_to_wait_for_memory_says_so_and_is_carried_out_when_there_is_some(make: Make) -> None:
    """Though the gain alone would not be worth a change that nobody has asked for."""
    board = make()
    board.tree.free(80 * MB)
    board.look()
    board.tree.free(4 * MB)
    answer = board.stage.ask(SetBudget(1, "cam", 8.0)).result
    assert answer["latency_p95_ms"] > 8.0
    assert answer["miss_ms"] > 0.0
    assert "nothing changes yet" in answer["sentence"]
    board.tree.free(200 * MB)
    board.looks(6.0)
    app = board.stage.loop.plan.app("cam")
    assert app is not None
    assert app.miss_ms == 0.0


def stalled(board: Watched, share: float, seconds: float) -> None:
    for _ in range(round(seconds / LOOK_S)):
        board.tree.stall(share, LOOK_S)
        board.look()


def test_what_was_only_kept_warm_goes_first(make: Make) -> None:
    board = make()
    board.stage.ask(SetLimit(1, "memory", 2 * MB))
    board.stage.ask(SetLimit(2, "memory", None))
    number = board.stage.loop.plan.number
    assert (board.stage.loop.plan.memory_bytes, board.held_bytes) == (8 * MB, 10 * MB)
    stalled(board, 0.4, 1.4)
    assert (board.stage.loop.plan.number, board.held_bytes) == (number, 8 * MB)


def test_work_that_stands_still_for_memory_shrinks_the_plan_though_enough_seems_free(make: Make) -> None:
    board = make()
    board.looks(1.0)
    stalled(board, 0.4, 2.0)
    assert board.stage.loop.plan.memory_bytes < 8 * MB
    assert "work stood still for memory" in board.events("plan")[-1]["cause"]
    assert board.events("pressure")[-1]["memory_stall"] > 0.1


def test_a_spike_of_stalls_changes_nothing(make: Make) -> None:
    board = make()
    board.looks(1.0)
    board.tree.stall(0.5, LOOK_S)
    board.looks(30.0)
    assert board.swaps == 0


def test_a_kernel_without_psi_is_followed_by_its_free_memory(make: Make) -> None:
    board = make()
    (board.tree.root / "proc/pressure/memory").unlink()
    assert ramp(board, 200.0, 70.0, 13.0)
    assert board.stage.ask(Status(1)).result["stalls"] is None


def test_a_kernel_that_cannot_confine_the_daemon_is_told_of(make: Make) -> None:
    """Without a memory cgroup nothing is above us but the board: three quarters of it are the most."""
    board = make(replace(LIMITS, memory_bytes=800 * MB))
    board.tree.write("proc/cgroups", "#subsys_name hierarchy num_cgroups enabled\ncpu 1 1 1\nmemory 0 1 0\n")
    board.tree.free(890 * MB)
    board.looks(0.4)
    status = board.stage.ask(Status(1)).result
    assert status["memory_confined"] is False
    assert status["memory_limit_bytes"] < 700 * MB
    assert "cannot confine" in status["memory_limit_reason"]


# Heat.


def test_a_ramp_towards_the_trip_point_lowers_utilisation_before_it_is_there(make: Make) -> None:
    board = make()
    celsius, limited_at = 50.0, None
    while celsius < 85.0 and limited_at is None:
        celsius += 0.5 * LOOK_S
        board.tree.heat(celsius)
        board.look()
        if board.stage.loop.plan.utilisation < 0.55:
            limited_at = celsius
    assert limited_at is not None
    assert limited_at < 80.0
    plan = board.events("plan")[-1]
    assert "heat: cpu-thermal was at" in plan["cause"]
    status = board.stage.ask(Status(1)).result
    assert status["utilisation_limit"] < 0.6
    assert "its clocks fall at 85 C" in status["utilisation_limit_reason"]
    assert board.events("pressure")[-1]["hottest_c"] == pytest.approx(celsius, abs=1.0)


def test_a_board_without_zones_is_as_before(make: Make) -> None:
    board = make()
    board.looks(60.0)
    status = board.stage.ask(Status(1)).result
    assert (status["zones"], status["utilisation_limit"]) == (None, 0.8)
    assert board.swaps == 0


def test_margin_off_waits_for_the_clocks_to_fall(make: Make) -> None:
    board = make(replace(LIMITS, heat_margin_c=None))
    for celsius in range(60, 90):
        board.tree.heat(celsius)
        board.looks(1.0)
    assert board.stage.ask(Status(1)).result["utilisation_limit"] == 0.8
    board.tree.throttle(is_on=True, clock_share=0.7)
    board.looks(31.0)  # where signs of a throttle are is looked up seldom
    assert board.stage.ask(Status(2)).result["utilisation_limit"] == pytest.approx(0.42)


def test_a_throttle_is_learned_from_and_known_after_a_restart(make: Make, tmp_path: Path) -> None:
    """No trip point tells of it: this firmware throttles at 70 C."""
    state = tmp_path / "state"
    board = make(state=state)
    board.tree.throttle(is_on=False)
    for whole_c in range(40, 71):
        board.tree.heat(whole_c, trip_c=None)
        board.looks(2.0)
    assert board.stage.ask(Status(1)).result["utilisation_limit"] == 0.8
    board.tree.throttle(is_on=True, clock_share=0.6)
    board.looks(3.0)
    status = board.stage.ask(Status(2)).result
    assert status["throttled"] == ["heat"]
    assert status["utilisation_limit"] == pytest.approx(0.36)
    assert status["learned_clock_share"] == 0.6

    board.tree.throttle(is_on=False)
    board.tree.heat(40.0, trip_c=None)
    again = make(state=state)
    assert again.stage.ask(Status(3)).result["learned_clock_share"] == 0.6
    celsius = 40.0
    while again.stage.loop.plan.utilisation > 0.5 and celsius < 75.0:
        celsius += 0.5 * LOOK_S
        again.tree.heat(celsius, trip_c=None)
        again.look()
    assert celsius < 65.0, "before it throttles again"
    assert again.stage.ask(Status(4)).result["utilisation_limit"] == pytest.approx(0.36), "in one step"


# Nothing in particular.


def noisy(board: Watched, seconds: float) -> None:
    """A board at rest: free memory, heat and stalls tremble as they do."""
    dice = random.Random(7)  # noqa: S311 - noise
    for _ in range(round(seconds / LOOK_S)):
        board.tree.free((200 + dice.gauss(0, 3)) * MB - (board.held_bytes - 8 * MB))
        board.tree.heat(70 + dice.gauss(0, 0.5))
        board.tree.stall(dice.choice((0.0, 0.0, 0.0, 0.02)), LOOK_S)
        board.look()


def test_a_board_that_only_trembles_brings_no_swap_in_ten_minutes(make: Make) -> None:
    board = make()
    noisy(board, 600.0)
    assert board.swaps == 0
    assert [cause for event in board.events("pressure") for cause in event["causes"]] == []


def test_a_board_on_the_edge_swaps_far_less_often_than_it_is_disturbed(make: Make) -> None:
    """Every half minute a program takes memory away for a while: followed each time, that were 40 swaps."""
    board = make()
    for _ in range(20):
        board.tree.free(62 * MB - (board.held_bytes - 8 * MB))
        board.looks(5.0)
        board.tree.free(200 * MB)
        board.looks(25.0)
    assert 1 <= board.swaps <= 11


@pytest.mark.parametrize("days", [400, -400])
def test_a_clock_that_jumps_freezes_nothing(make: Make, days: int) -> None:
    board = make()
    ramp(board, 200.0, 60.0, 14.0)
    assert board.stage.loop.plan.memory_bytes < 8 * MB
    board.stage.clock.advance(days * 86400.0)
    board.tree.free(200 * MB)
    board.looks(60.0)
    assert board.stage.loop.plan.memory_bytes == 8 * MB, "it comes back"
    assert ramp(board, 200.0, 60.0, 14.0), "and goes again"


def test_a_decision_that_keeps_the_routes_is_told_with_its_cause(make: Make) -> None:
    board = make()
    board.stage.loop.use_table(table_of(*ROWS))
    board.look()
    (kept,) = board.events("kept")
    assert (kept["cause"], kept["number"], kept["refused"]) == ("more of the store has been measured", 1, [])
    assert {"reason", "look_ms", "solve_ms"} <= kept.keys()
