"""When things happen in a scene: phase after phase, cue after cue, and a tick in between. Pure but for the clock."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Protocol

from schedulerd.clock import Clock
from schedulerd.scenes.script import Action, Phase

TICK_S: Final = 0.1
"""Between two looks after sensors and processes: half of what the daemon waits between two looks of its own."""


class Stage(Protocol):
    """Where a scene is played."""

    def begin(self, phase: Phase) -> None:
        """A phase begins."""
        ...

    def act(self, action: Action) -> None:
        """Carry out an action; raises `SceneFailed` where that cannot be done."""
        ...

    def tick(self) -> None:
        """Bring sensors up to date, look after everybody; raises `SceneFailed` when somebody is gone."""
        ...


def play(phases: Sequence[Phase], stage: Stage, clock: Clock) -> None:
    """All phases, one after the other; an action that takes long does not put off what comes after it."""
    due_s = clock.now_s()
    for phase in phases:
        stage.begin(phase)
        for cue in phase.cues:
            _until(due_s + cue.at_s, stage, clock)
            stage.act(cue.action)
        due_s += phase.seconds
        _until(due_s, stage, clock)


def _until(due_s: float, stage: Stage, clock: Clock) -> None:
    nobody = threading.Event()
    stage.tick()
    while (left_s := due_s - clock.now_s()) > 0:
        clock.wait(nobody, min(TICK_S, left_s))
        stage.tick()
