"""The improver: measures while no app wants the board, stops at once when one does, and does not try in vain."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from blockprofiles.device import Device
from blockprofiles.record import Row
from blockprofiles.table import Table
from schedulerd.control.improver import REST_S, SETTLED_S, Improver
from schedulerd.profiling.work import Work
from tests.fakes import FakeClock

DEVICE = Device("Cortex-A76", "aarch64", 4, None, 2**32, "scripted", "1.0", 1)
EMPTY = Table(DEVICE, (), "then")


def known(*digests: str) -> Table:
    """A table with these rows."""
    return replace(EMPTY, rows=tuple(Row(digest, "scripted", 1, 1.0, 2.0, 1000) for digest in digests))


def left(table: Table) -> Work:
    """All of a, b and c that the table has not; d can never be measured."""
    return Work(frozenset((d, "scripted", 1) for d in "abcd" if d not in table), contention=False)


@dataclass
class ScriptedRun:
    """A run that goes as the test says."""

    table: Table
    ended: bool = False
    stops: int = 0

    def stop(self) -> None:
        """Count."""
        self.stops += 1


@dataclass
class Bench:
    """An improver, and the runs that it has begun."""

    clock: FakeClock = field(default_factory=FakeClock)
    runs: list[ScriptedRun] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.improver = Improver(known("a"), left, self.begin, self.clock)

    def begin(self, table: Table) -> ScriptedRun:
        """A new run from `table`."""
        self.runs.append(ScriptedRun(table))
        return self.runs[-1]

    def pass_s(self, seconds: float, idle: bool = True) -> Table | None:
        """Turns of the loop, five a second; the last table that came."""
        newest = None
        for _ in range(round(seconds / 0.2)):
            self.clock.advance(0.2)
            newest = self.improver.tick(idle) or newest
        return newest


@pytest.fixture
def bench() -> Bench:
    """A board of which something is known."""
    return Bench()


def test_it_begins_when_the_board_has_been_idle_for_a_while(bench: Bench) -> None:
    bench.pass_s(SETTLED_S - 1)
    bench.pass_s(0.2, idle=False)
    bench.pass_s(SETTLED_S - 1)
    assert bench.runs == []
    bench.pass_s(2)
    assert [run.table for run in bench.runs] == [known("a")]


def test_what_is_measured_is_handed_over_once(bench: Bench) -> None:
    bench.pass_s(SETTLED_S + 1)
    bench.runs[0].table = known("a", "b")
    assert bench.improver.tick(idle=True) == known("a", "b")
    assert bench.improver.tick(idle=True) is None


def test_an_app_that_comes_ends_it_at_once_and_it_goes_on_later(bench: Bench) -> None:
    """From what was measured by then, also in the last moment."""
    bench.pass_s(SETTLED_S + 1)
    bench.improver.tick(idle=False)
    assert bench.runs[0].stops == 1
    bench.improver.tick(idle=False)
    assert bench.runs[0].stops == 1
    bench.runs[0].table, bench.runs[0].ended = known("a", "b"), True
    assert bench.improver.tick(idle=False) == known("a", "b")
    bench.pass_s(SETTLED_S + 1)
    assert bench.runs[1].table == known("a", "b")


def test_no_second_run_begins_before_the_first_has_ended(bench: Bench) -> None:
    bench.pass_s(SETTLED_S + 1)
    bench.improver.tick(idle=False)
    bench.pass_s(SETTLED_S + 10)
    assert len(bench.runs) == 1


def test_when_everything_is_known_it_rests_for_good(bench: Bench) -> None:
    bench.pass_s(SETTLED_S + 1)
    bench.runs[0].table, bench.runs[0].ended = known(*"abcd"), True
    bench.pass_s(10 * REST_S)
    assert len(bench.runs) == 1


def test_what_a_whole_run_could_not_measure_is_not_tried_again(bench: Bench) -> None:
    bench.pass_s(SETTLED_S + 1)
    bench.runs[0].table, bench.runs[0].ended = known("a", "b", "c"), True
    bench.pass_s(10 * REST_S)
    assert len(bench.runs) == 1


def test_a_run_without_a_table_yet_changes_nothing(bench: Bench) -> None:
    """An empty table must not take the place of what the daemon plans with."""
    bench.pass_s(SETTLED_S + 1)
    bench.runs[0].table = EMPTY
    assert bench.improver.tick(idle=True) is None


def test_closing_stops_what_runs(bench: Bench) -> None:
    bench.improver.close()
    bench.pass_s(SETTLED_S + 1)
    bench.improver.close()
    assert bench.runs[0].stops == 1
