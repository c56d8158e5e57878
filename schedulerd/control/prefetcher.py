"""Loads what the next plans are likely to want while nothing else is to be done, so that their swaps need no load.

The control loop calls `tick` at every turn, and nothing here waits: what is likely is worked out aside, and blobs are
loaded one at a time on the loader thread, so that a plan waits for one of them at most. Nothing is evicted for it, and
what was loaded in vain is the first to go when memory is short.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog

from schedulerd.clock import Clock
from schedulerd.control.allowance import Abandoned, Allowance
from schedulerd.control.aside import Aside
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.foresight import candidates, imagined, ranked
from schedulerd.control.holdings import Form
from schedulerd.control.merging import ROOM
from schedulerd.control.switcher import Switcher
from schedulerd.errors import Overloaded
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Solver
from schedulerd.plan import Plan, Route

log = structlog.get_logger(__name__)

SETTLED_S: Final = 1.0
"""After a decision; apps that start together would have each of their plans thought ahead of."""
RECENT: Final = 4
"""Plans that ran, and may run again."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """What was found likely."""

    decisions: int
    """`Planner.decisions` when it was asked."""
    plans: tuple[Plan, ...]


class Prefetcher:
    """What is likely, and what is being loaded for it."""

    def __init__(self, switcher: Switcher, solver: Solver, aside: Aside, clock: Clock) -> None:
        """Nothing is known yet. Args: switcher: what is in memory; solver; aside: where it is used; clock."""
        self._switcher = switcher
        self._solver = solver
        self._aside = aside
        self._clock = clock
        self._recent: deque[Plan] = deque(maxlen=RECENT)
        self._noted = -1
        """Number of the plan that was looked at last."""
        self._decided = (-1, 0.0)
        """Decisions that were seen last, and when."""
        self._asked = -1
        """Decisions when it was asked last what is likely."""
        self._prospect = Prospect(-1, ())
        """Replaced by the thread that works it out; read here."""
        self._loading: Form | None = None
        self._done: tuple[int, int, int] | None = None
        """Decisions, resident bytes and room with which there was nothing to load."""
        self._refused: set[Form] = set()
        """What could not be loaded: the plan that wants it finds out for itself."""

    def tick(
        self,
        plan: Plan,
        decisions: int,
        problem: Callable[[], Problem],
        catalogue: Catalogue,
        memory_limit_bytes: int,
        *,
        calm: bool,
        largest_bytes: float = math.inf,
    ) -> None:
        """One turn.

        Args: plan: running; decisions: made so far; problem: makes the present one; catalogue; memory_limit_bytes: for
        everything that is resident; calm: the board has time and memory for what is not needed yet; largest_bytes: of
        a blob that can be loaded in the memory that is free.
        """
        self._note(plan, decisions)
        self._take()
        settled = self._clock.now_s() - self._decided[1] >= SETTLED_S
        if not (calm and settled and plan.apps) or self._switcher.loading:
            return
        if self._asked != decisions:
            self._ask(decisions, problem())
        elif self._prospect.decisions == decisions:
            resident_bytes = self._switcher.resident_bytes(catalogue.size_bytes)
            room_bytes = int(min(ROOM * memory_limit_bytes - resident_bytes, largest_bytes))
            if (decisions, resident_bytes, room_bytes) != self._done and not self._load_next(
                plan, catalogue, room_bytes
            ):
                self._done = decisions, resident_bytes, room_bytes

    def _note(self, plan: Plan, decisions: int) -> None:
        if decisions != self._decided[0]:
            self._decided = decisions, self._clock.now_s()
        if plan.number == self._noted:
            return
        self._noted = plan.number
        if plan.apps and not any(_routes(plan) == _routes(known) for known in self._recent):
            self._recent.append(plan)

    # What is likely.

    def _ask(self, decisions: int, problem: Problem) -> None:
        try:
            self._aside.put(partial(self._work_out, decisions, problem))
        except Overloaded:  # operators ask; later will do
            return
        self._asked = decisions

    def _work_out(self, decisions: int, problem: Problem) -> None:
        """On the thread for such work. A fault leaves the recent plans."""
        solver = Allowance(self._solver, self._aside.ending)
        plans: tuple[Plan, ...] = ()
        try:
            plans = tuple(solve(likely, solver, number=0) for likely in imagined(problem))
        except Abandoned:
            return
        except Exception:
            log.exception("foresight_failed")
        self._prospect = Prospect(decisions, plans)

    # Loading.

    def _take(self) -> None:
        """What was begun is there, or has failed, or a plan has dealt with it."""
        form = self._loading
        if form is None:
            return
        try:
            if self._switcher.holds(form) and not self._switcher.taken(form):
                return
        except Exception as error:  # as a plan's own load: whatever a library raises
            log.warning("prefetch_failed", digest=form.digest, reason=f"{type(error).__name__}: {error}")
            self._refused.add(form)
        self._loading = None

    def _load_next(self, plan: Plan, catalogue: Catalogue, room_bytes: int) -> bool:
        """Begin to load what is worth most; False where nothing is absent that there is room for."""
        likely = [_of_live(known, plan) for known in (*self._prospect.plans, *self._recent)]
        absent = [self._switcher.absent(known, catalogue) for known in likely]
        unfit = catalogue.broken | catalogue.banned
        wanted = [[form for form in of if form.digest not in unfit and form not in self._refused] for of in absent]
        found = ranked(candidates(wanted, self._switcher.load_ms(), catalogue.size_bytes), room_bytes)
        if found:
            form = found[0].form
            self._switcher.begin(form, next(of[form] for of in absent if form in of))
            self._loading = form
        return bool(found)


def _routes(plan: Plan) -> dict[str, Route]:
    return {app.app_id: app.route for app in plan.apps}


def _of_live(known: Plan, running: Plan) -> Plan:
    """What a plan has for those apps that are still there, with the model that they have now."""
    models = {app.app_id: app.route.model for app in running.apps}
    return replace(known, apps=tuple(a for a in known.apps if models.get(a.app_id) == a.route.model))
