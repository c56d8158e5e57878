"""What a squeeze and heat leave to the apps, from snapshots: which readings count, and what is kept of a throttle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockstore.exits import NO_EXITS
from schedulerd.config import LimitsConfig
from schedulerd.control.board_watch import BoardWatch
from schedulerd.control.learned_heat import Learned, Memory
from schedulerd.control.readings import Pressure, Stall, Throttle, Trip, Zone
from schedulerd.control.snapshot import Origin, Snapshot
from schedulerd.errors import Overloaded
from schedulerd.plan import EMPTY_PLAN, AppPlan, Plan, Route

MB = 10**6
LIMITS = LimitsConfig(memory_share=1.0, memory_reserve_bytes=64 * MB)
ROUTE = Route("m", ("original",), ("A",), NO_EXITS)
PASSIVE = (Trip("active", 50.0), Trip("passive", 85.0), Trip("critical", 110.0))


def plan(energy_mj: float | None = 50.0) -> Plan:
    """An app that runs 60 times a second for 10 ms."""
    app = AppPlan("cam", ROUTE, 10.0, 11.0, 0.9, 8 * MB, 0.6, (10.0,), expected_ms=10.0, energy_mj=energy_mj)
    return replace(EMPTY_PLAN, number=1, apps=(app,), memory_bytes=8 * MB, utilisation=0.6)


class Board:
    """A watch, and the snapshots that it is given, five a second."""

    def __init__(self, watch: BoardWatch | None = None, plan: Plan = plan()) -> None:  # noqa: B008 - frozen
        self.watch = watch or BoardWatch(LIMITS)
        self.plan = plan
        self.now_s = 100.0

    def see(self, seconds: float = 0.2, **readings: Any) -> None:
        for _ in range(round(seconds * 5)):
            self.now_s += 0.2
            self.watch.look(Snapshot(self.now_s, 4, **readings), self.plan, 8 * MB)

    def warm_up(self, trips: tuple[Trip, ...] = PASSIVE, *, start_c: float = 60.0, seconds: int = 20) -> None:
        """By half a degree a second."""
        for n in range(seconds * 5):
            self.see(zones=(Zone("cpu", start_c + 0.1 * n, trips),))

    @property
    def utilisation(self) -> float | None:
        cap = self.watch.caps.utilisation
        return None if cap is None else cap.value


def test_a_board_of_which_nothing_can_be_read_takes_nothing_off() -> None:
    board = Board()
    board.see(60.0)
    assert board.watch.caps == BoardWatch(LIMITS).caps
    assert board.watch.standing == ()


def test_a_zone_that_warms_up_towards_its_passive_trip_takes_off_lanes_and_power_alike() -> None:
    board = Board()
    board.warm_up()
    assert board.utilisation is not None
    power = board.watch.caps.power_w
    assert power is not None
    assert power.value / 3.0 == pytest.approx(board.utilisation / 0.6), "60 frames of 50 mJ a second are 3 W"
    assert power.why.startswith("heat: cpu was at")
    assert board.watch.standing == ("the board is hot",)


def test_power_of_which_a_part_is_not_known_is_left_alone() -> None:
    board = Board(plan=plan(energy_mj=None))
    board.warm_up()
    assert board.utilisation is not None
    assert board.watch.caps.power_w is None


@pytest.mark.parametrize(
    "trips",
    [(), (Trip("active", 75.0),), (Trip("critical", 75.0),), (Trip("passive", 25.0),)],
    ids=["none", "a fan", "the end", "none that is meant"],
)
def test_trip_points_at_which_no_clock_falls_do_not_count(trips: tuple[Trip, ...]) -> None:
    board = Board()
    board.warm_up(trips)
    assert board.utilisation is None


def test_another_configuration_holds_from_the_next_look_on() -> None:
    board = Board(BoardWatch(replace(LIMITS, heat_margin_c=None)))
    board.warm_up()
    assert board.utilisation is None, "nobody is forewarned"
    board.watch.configure(LIMITS)
    board.warm_up(start_c=70.0)
    assert board.utilisation is not None


def test_a_board_below_zero_is_as_any_other() -> None:
    board = Board()
    board.warm_up(start_c=-40.0)
    assert board.utilisation is None
    board.warm_up(start_c=-30.0, seconds=240)
    assert board.utilisation is not None


def test_a_reading_that_is_seen_again_makes_no_trend() -> None:
    """A source that is read seldom gives the same reading at every look, and then one that is higher."""
    board = Board()
    for n in range(100):
        read_s = 100.0 + 4.0 * (n // 20)
        origins = {"zones": Origin("thermal", read_s)}
        board.see(zones=(Zone("cpu", 60.0 + 2.0 * (n // 20), PASSIVE),), origins=origins)
    seen = board.watch._warmth.zones(Learned())
    assert [zone.slope_per_s for zone in seen] == [None], "three readings in ten seconds tell nothing"


def test_without_a_plan_nobody_heats_the_board() -> None:
    board = Board(plan=replace(EMPTY_PLAN, utilisation=0.6))
    board.warm_up()
    assert board.utilisation is None


def test_a_squeeze_stands_until_all_has_come_back() -> None:
    board = Board()
    board.see(1.0, memory_available_bytes=60 * MB)
    assert [*board.watch.standing] == ["memory is squeezed"]
    cap = board.watch.caps.memory_bytes
    assert cap is not None
    assert (cap.value, cap.why) == (int(8 * MB * 0.85**5), "a squeeze: the board ran short of memory")
    board.see(60.0, memory_available_bytes=200 * MB)
    assert [*board.watch.standing] == []


def test_stalls_count_where_nothing_else_of_memory_can_be_read() -> None:
    board = Board()
    board.see(1.0, pressure=Pressure(memory=Stall(0.3)))
    assert board.watch.standing == ("memory is squeezed",)
    other = Board()
    other.see(1.0, pressure=Pressure(cpu=Stall(0.9), io=Stall(0.9)))
    assert other.watch.standing == ()


# What is learned.

HOT = Throttle(("heat",), 0.7)


def throttled(board: Board, throttle: Throttle = HOT) -> None:
    board.warm_up((), start_c=50.0, seconds=40)
    board.see(zones=(Zone("cpu", 70.0),), throttle=throttle)


def test_a_throttle_for_heat_is_learned_from(tmp_path: Path) -> None:
    board = Board(BoardWatch(LIMITS, Memory(tmp_path)))
    throttled(board)
    assert board.watch.learned == Learned(0.7, 0.42, (("cpu", 70.0),)) == Memory(tmp_path).load()
    assert board.utilisation == pytest.approx(0.42)
    board.see(zones=(Zone("cpu", 70.0),), throttle=Throttle(("heat",), 0.6))
    assert Memory(tmp_path).load().clock_share == 0.6, "the lowest of the spell"


def test_what_a_zone_cools_to_before_the_clocks_are_given_back_is_not_where_they_fell(tmp_path: Path) -> None:
    board = Board(BoardWatch(LIMITS, Memory(tmp_path)))
    throttled(board)
    for celsius in range(69, 54, -1):
        board.see(2.0, zones=(Zone("cpu", float(celsius)),), throttle=HOT)
    assert board.watch.learned.trip_c("cpu") == 70.0
    board.see(zones=(Zone("cpu", 54.0),), throttle=Throttle())
    assert Memory(tmp_path).load().trip_c("cpu") == 70.0


def test_a_zone_that_proves_to_bear_more_limits_the_board_no_longer(tmp_path: Path) -> None:
    Memory(tmp_path).save(Learned(throttled_c=(("cpu", 50.0),)))
    board = Board(BoardWatch(LIMITS, Memory(tmp_path)))
    board.see(1.0, zones=(Zone("cpu", 75.0),), throttle=None)
    assert board.watch.learned.trip_c("cpu") == 50.0, "nobody knows what the clocks did"
    assert board.utilisation is not None
    board.see(1.0, zones=(Zone("cpu", 75.0),), throttle=Throttle())
    board.see(400.0, zones=(Zone("cpu", 60.0),), throttle=Throttle())
    assert board.utilisation is None
    assert Memory(tmp_path).load().trip_c("cpu") == 75.0


def test_what_was_learned_of_a_temperature_that_summers_reach_does_not_count(tmp_path: Path) -> None:
    Memory(tmp_path).save(Learned(throttled_c=(("cpu", 30.0),)))
    board = Board(BoardWatch(LIMITS, Memory(tmp_path)))
    board.see(10.0, zones=(Zone("cpu", 31.0),))
    assert board.utilisation is None


@pytest.mark.parametrize("throttle", [Throttle(), Throttle(("cap", "voltage", "current"), 0.5)])
def test_clocks_that_are_held_down_for_other_reasons_teach_nothing(throttle: Throttle, tmp_path: Path) -> None:
    board = Board(BoardWatch(LIMITS, Memory(tmp_path)))
    throttled(board, throttle)
    assert board.watch.learned == Learned()
    assert board.utilisation is None
    assert list(tmp_path.iterdir()) == []


def test_where_the_clocks_fell_counts_as_a_trip_point_the_next_time(tmp_path: Path) -> None:
    Memory(tmp_path).save(Learned(0.7, 0.42, (("cpu", 70.0),)))
    board = Board(BoardWatch(LIMITS, Memory(tmp_path)))
    board.warm_up((), start_c=50.0, seconds=6)
    assert board.utilisation == pytest.approx(0.42), "and by as much as it took then"


def test_what_nobody_has_time_to_write_is_written_later(tmp_path: Path) -> None:
    jobs: list[Callable[[], None]] = []
    full = True

    def put(job: Callable[[], None]) -> None:
        if full:
            raise Overloaded("no room")
        jobs.append(job)

    board = Board(BoardWatch(LIMITS, Memory(tmp_path), put))
    throttled(board)
    full = False
    for _ in range(3):
        board.see(zones=(Zone("cpu", 70.0),), throttle=HOT)
    (job,) = jobs
    assert Memory(tmp_path).load() == Learned(), "a disk is waited for elsewhere"
    job()
    assert Memory(tmp_path).load() == board.watch.learned
