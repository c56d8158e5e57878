"""Where a scene is played for real: clients, hogs, an operator and sensors around a daemon; and what is noted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from schedulerd.clock import Clock
from schedulerd.scenes import words
from schedulerd.scenes.house import House
from schedulerd.scenes.listener import plan_seen
from schedulerd.scenes.operator import Operator
from schedulerd.scenes.processes import usage
from schedulerd.scenes.record import Deed, PlanSeen, Reading, Turn
from schedulerd.scenes.script import (
    WORSE_UPWARDS,
    Action,
    Budget,
    Hogs,
    Join,
    KilledForMemory,
    Leave,
    Limit,
    Phase,
    Ramp,
    Restore,
    SceneFailed,
)
from schedulerd.scenes.view import View

READ_EVERY_S: Final = 1.0


class LiveStage:
    """A `timeline.Stage`."""

    def __init__(self, house: House, view: View, clock: Clock) -> None:
        self._house = house
        self._view = view
        self._clock = clock
        self._operator = Operator(house.control, house.roles, clock)
        self._read_s = self._shown_s = -math.inf
        self.turns: list[Turn] = []
        self.deeds: list[Deed] = []
        self.plans: list[PlanSeen] = [plan_seen(house.control.plan(), clock.now_s())]
        self.readings: list[Reading] = []
        self._told_plan = self.plans[0].number
        """Of which the view knows: the answer to an edit, or an event."""

    def begin(self, phase: Phase) -> None:
        """As `timeline.Stage` has it."""
        self._operator.look()
        what = words.described(phase, self._house.roles, self._house.cores)
        self.turns.append(Turn(phase.name, self._clock.now_s(), what, steady=phase.steady))
        self._view.turn(self.turns[-1])

    def act(self, action: Action) -> None:
        """As `timeline.Stage` has it."""
        at_s = self._clock.now_s()
        deed = Deed(at_s, action, words.told(action, self._house.roles, self._house.cores), at_s, worse=True)
        if isinstance(action, Budget | Limit):
            said = self._operator.edit(action)
            self._told_plan = max(self._told_plan, said.plan)
            self._answered(said.sentence)
            deed = replace(deed, at_s=said.asked_s, counts_from_s=said.asked_s)
        elif isinstance(action, Ramp):
            slope = self._house.board.begin(action, at_s)
            worse = action.matters is not None and (slope.end > slope.start) == (action.what in WORSE_UPWARDS)
            counts_from_s = at_s if action.matters is None else slope.reaches_s(action.matters)
            deed = replace(deed, counts_from_s=counts_from_s, worse=worse)
        else:
            deed = replace(deed, worse=self._moved(action))
        self.deeds.append(deed)

    def tick(self) -> None:
        """As `timeline.Stage` has it."""
        self._check()
        now_s = self._clock.now_s()
        self._house.board.tick(now_s)
        self._hear()
        if now_s - self._read_s >= READ_EVERY_S:
            self._read_s = now_s
            self.readings.append(self._reading(now_s))
        if self._view.look_s is not None and now_s - self._shown_s >= self._view.look_s:
            self._shown_s = now_s
            control = self._house.control
            self._view.show(self._house.troupe.samples(), control.apps()["apps"], control.status())

    def _check(self) -> None:
        """Raises `SceneFailed` when a process has ended that should not have."""
        try:
            self._house.daemon.check()
        except SceneFailed as error:
            if self._house.board.out_of_memory:
                raise KilledForMemory(f"the kernel killed the daemon for want of memory: {error}") from error
            raise
        self._house.troupe.check()

    def _moved(self, action: Join | Leave | Hogs | Restore) -> bool:
        """Carry out what needs no answer; whether a plan has to follow soon."""
        if isinstance(action, Join):
            self._house.troupe.join(action.app)
        elif isinstance(action, Leave):
            self._house.troupe.leave(action.app)
        elif isinstance(action, Restore):
            self._house.board.restore(action)
            return False
        else:
            count, before = words.hog_count(action, self._house.cores), len(self._house.hogs)
            self._house.hogs.set(count)
            return action.matters and count > before
        return True

    def _hear(self) -> None:
        """Plans since the last look; the view is told of those that it does not know of by an operator's edit."""
        for plan in self._house.listener.taken():
            if plan.number <= self.plans[0].number:
                continue  # from before the scene
            self.plans.append(plan)
            if plan.number > self._told_plan:
                # schedulerd acted by itself: the board or a client, not the operator, was the cause.
                self._told_plan = plan.number
                self._answered(plan.sentence)

    def _answered(self, sentence: str) -> None:
        turn = self.turns[-1]
        self.turns[-1] = replace(turn, answers=(*turn.answers, sentence))
        self._view.turn(replace(turn, answers=(sentence,)))

    def _reading(self, now_s: float) -> Reading:
        status = self._house.control.status()
        _, cpu_s = usage(self._house.daemon.pid)
        return Reading(now_s, _numbers(status), self._house.board.values(now_s), cpu_s)


def _numbers(status: Mapping[str, Any]) -> dict[str, float | None]:
    """What changes, and is a number or not known."""
    return {
        key: value
        for key, value in status.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }
