"""The order of play, on a clock that only waits move."""

from __future__ import annotations

import threading

from schedulerd.scenes.script import Action, Cue, Hogs, Join, Phase
from schedulerd.scenes.timeline import TICK_S, play


class WaitingClock:
    """A `Clock` that moves by what is waited, and by what an action takes."""

    def __init__(self) -> None:
        self.s = 100.0

    def now_s(self) -> float:
        return self.s

    def wall_s(self) -> float:
        return self.s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        assert timeout_s > 0
        self.s += timeout_s
        return False


class NotingStage:
    """A `Stage` that notes what it is told, and when; actions take a while."""

    def __init__(self, clock: WaitingClock, action_takes_s: float = 0.0) -> None:
        self.clock = clock
        self.told: list[tuple[float, str | Action]] = []
        self.ticks: list[float] = []
        self._takes_s = action_takes_s

    def begin(self, phase: Phase) -> None:
        self.told.append((round(self.clock.s - 100, 3), phase.name))

    def act(self, action: Action) -> None:
        self.told.append((round(self.clock.s - 100, 3), action))
        self.clock.s += self._takes_s

    def tick(self) -> None:
        self.ticks.append(self.clock.s)


PHASES = (
    Phase("one", 2.0, cues=(Cue(0.0, Hogs(1)), Cue(1.5, Join("a")))),
    Phase("two", 1.0, cues=(Cue(0.25, Hogs(0)),)),
)


def test_everything_happens_at_its_time() -> None:
    stage = NotingStage(WaitingClock())
    play(PHASES, stage, stage.clock)
    assert stage.told == [(0.0, "one"), (0.0, Hogs(1)), (1.5, Join("a")), (2.0, "two"), (2.25, Hogs(0))]
    assert round(stage.clock.s - 100, 6) == 3.0


def test_an_action_that_takes_long_puts_nothing_off() -> None:
    stage = NotingStage(WaitingClock(), action_takes_s=0.4)
    play(PHASES, stage, stage.clock)
    assert [at_s for at_s, _ in stage.told] == [0.0, 0.0, 1.5, 2.0, 2.25]
    assert round(stage.clock.s - 100, 6) == 3.0


def test_sensors_and_processes_are_looked_after_all_the_time() -> None:
    stage = NotingStage(WaitingClock())
    play(PHASES, stage, stage.clock)
    gaps = [later - earlier for earlier, later in zip(stage.ticks, stage.ticks[1:], strict=False)]
    assert max(gaps) <= TICK_S + 1e-9
    assert stage.ticks[-1] == stage.clock.s
