"""Reasons to plan anew that come from the board or from the frames, not from anybody's wish."""

from __future__ import annotations

from collections.abc import Sequence

from schedulerd.clock import Clock
from schedulerd.control.announcer import Announcer
from schedulerd.control.board_watch import BoardWatch
from schedulerd.control.drift_watch import DriftWatch
from schedulerd.control.exit_watch import ExitWatch
from schedulerd.control.limits import LimitsNow
from schedulerd.control.occasions import Cause, Occasions
from schedulerd.control.snapshot import Snapshot
from schedulerd.plan import Plan
from schedulerd.serving.apps import LiveApp


class Urges:
    """Asks all that watches, and tells listeners when pressure comes or goes."""

    def __init__(
        self,
        occasions: Occasions,
        board: BoardWatch,
        drift: DriftWatch,
        exits: ExitWatch,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        """Nothing presses yet.

        Args: occasions: of limits, and what was put off; board: of memory and heat; drift: of times; exits: of frames;
        announcer; clock.
        """
        self._occasions = occasions
        self._board = board
        self._drift = drift
        self._exits = exits
        self._announcer = announcer
        self._clock = clock
        self.pressed: tuple[str, ...] = ()
        """The pressure that was told last; empty while the board gives no reason."""

    def now(self, apps: Sequence[LiveApp], plan: Plan, snapshot: Snapshot, limits: LimitsNow) -> list[Cause]:
        """Args: apps: live; plan: running; snapshot: of the board at this turn; limits: that follow from it."""
        texts = self._exits.look(apps, plan, self._clock.now_s())
        due = list(self._occasions.due(self._clock.now_s())) if apps else []
        return [*self._pressure(plan, snapshot, limits), *due, *(Cause(text, urgent=False) for text in texts)]

    def _pressure(self, plan: Plan, snapshot: Snapshot, limits: LimitsNow) -> list[Cause]:
        if not plan.apps:
            return []
        causes = (*self._occasions.limits(plan, limits), *self._drift.causes())
        pressed = (*causes, *self._board.standing)
        if pressed != self.pressed:
            self.pressed = pressed
            self._announcer.pressure(pressed, self._drift.board, snapshot, limits)
        return [Cause(text, urgent=False) for text in causes]
