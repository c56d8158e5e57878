"""Answers operators who ask about plans that are not: why an app gets no more, what an edit would lead to.

Such an answer takes dozens of decisions. What it rests on is gathered by the control thread, between two plans; it is
worked out aside, where no decision waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from schedulerd.clock import Clock
from schedulerd.control import advice, report
from schedulerd.control.allowance import Abandoned, Allowance
from schedulerd.control.announcer import Announcer
from schedulerd.control.aside import Aside
from schedulerd.control.checks import check_memory_bytes, check_objective
from schedulerd.control.factors import Factors
from schedulerd.control.plan_report import Decision
from schedulerd.control.planner import Planner
from schedulerd.control.snapshot import Snapshot
from schedulerd.errors import BadValue, InternalError, Overloaded, SchedulerdError, ShuttingDown
from schedulerd.optimizer.nearest import nearest_budget_ms
from schedulerd.optimizer.problem import MAX_APPS, AppOptions, Problem
from schedulerd.optimizer.solvers import Solver
from schedulerd.optimizer.whatif import edited, whatif
from schedulerd.optimizer.why import why
from schedulerd.plan import Plan
from schedulerd.serving.admission import check_budget_ms
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.serving.defaults import Defaults
from schedulerd.serving.events import Asked
from schedulerd.wire.messages import Addition, Answer, Failure, Register, WhatIf, Why

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 60.0
"""For one answer; an operator who waits longer is refused."""

Question = Callable[[Solver], dict[str, Any]]
"""What is still to be worked out: the result map of an answer, by solving."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the control loop would decide on now, and what it decided last."""

    snapshot: Snapshot
    factors: Factors
    """That times are planned with."""
    problem: Problem
    plan: Plan
    decision: Decision


class Advisor:
    """One answer for every question; the control thread asks, and `aside` answers."""

    def __init__(
        self,
        registry: Registry,
        planner: Planner,
        solver: Solver,
        aside: Aside,
        announcer: Announcer,
        clock: Clock,
        defaults: Callable[[], Defaults] = Defaults,
    ) -> None:
        """Nothing has been asked.

        Args: registry: of the live apps; planner; solver; aside: where answers are worked out; announcer; clock;
        defaults: of registrations, as they are now.
        """
        self._registry = registry
        self._planner = planner
        self._solver = solver
        self._aside = aside
        self._announcer = announcer
        self._clock = clock
        self._defaults = defaults

    def why(self, event: Asked, request: Why, moment: Moment) -> None:
        """Answer why an app runs what it runs. Raises `UnknownApp`, and what an app without a plan is refused with."""
        app = self._planned(request.app, moment.problem)
        held = report.pins_map(app, self._planner.catalogue.models[app.spec.model], moment.plan)

        def question(solver: Solver) -> dict[str, Any]:
            found = why(moment.problem, moment.plan, request.app, solver)
            told = advice.why_map(found, app.spec, moment.plan, moment.decision, moment.snapshot.at_s)
            return {**told, **held}

        self._ask(event, question)

    def whatif(self, event: Asked, request: WhatIf, moment: Moment) -> None:
        """Answer what edits would lead to.

        Raises `UnknownApp`, `BadValue`, `UnknownModel`, `StoreFault`.
        """
        imagined = self._imagined(request, moment)

        def question(solver: Solver) -> dict[str, Any]:
            return advice.whatif_map(whatif(moment.problem, imagined, moment.plan, solver), moment.problem, imagined)

        self._ask(event, question)

    def nearest_budget(self, event: Asked, app_id: str, answer: dict[str, Any], moment: Moment) -> None:
        """Answer an edited budget that is missed: with `answer`, and the least budget that would be met."""

        def question(solver: Solver) -> dict[str, Any]:
            return {**answer, "nearest_budget_ms": nearest_budget_ms(moment.problem, app_id, solver)}

        self._ask(event, question, answer)

    def _imagined(self, request: WhatIf, moment: Moment) -> Problem:
        if not (request.budgets_ms or request.memory_bytes is not None or request.add or request.objective):
            raise BadValue("nothing is different; give budgets_ms, memory_bytes, add or objective")
        for app_id, budget_ms in request.budgets_ms.items():
            check_budget_ms(budget_ms)
            self._planned(app_id, moment.problem)
        if request.objective is not None:
            check_objective(request.objective)
        memory_bytes = None
        if request.memory_bytes is not None:
            check_memory_bytes(request.memory_bytes)
            memory_bytes = self._planner.limits(moment.snapshot, request.memory_bytes).limits.memory_bytes
        together = len(moment.problem.apps) + len(request.add)
        if together > MAX_APPS:
            raise BadValue(f"{together} apps are more than the {MAX_APPS} that can be planned together; add fewer")
        added = tuple(self._added(request.add, moment.factors))
        return edited(moment.problem, request.budgets_ms, memory_bytes, added, request.objective)

    def _planned(self, app_id: str, problem: Problem) -> LiveApp:
        """The app of that name; one that has no part in plans raises what its requests are refused with."""
        app = self._registry.named(app_id)
        if all(one.app.app_id != app_id for one in problem.apps):
            raise self._planner.stranded.get(app_id) or app.without_route()
        return app

    def _added(self, additions: Sequence[Addition], factors: Factors) -> Iterator[AppOptions]:
        """The choices of apps that are not there, under the names that they would be given."""
        names: set[str] = set()
        catalogue = self._planner.catalogue
        for addition in additions:
            name = self._registry.free_name(addition.model, names)
            names.add(name)
            wishes = Register(0, addition.model, addition.budget_ms, addition.rate_hz)
            yield catalogue.options(self._defaults().admitted(wishes, name, catalogue.models), None, factors)

    def _ask(self, event: Asked, question: Question, known: dict[str, Any] | None = None) -> None:
        """Have it answered; with what is `known` where it cannot be worked out, with a refusal where nothing is."""
        posed = _Posed(event, question, self._clock.now_s() + PATIENCE_S, known)
        try:
            self._aside.put(partial(self._answer, posed))
        except Overloaded as error:
            self._announcer.answer(event.identity, posed.without(error))

    def _answer(self, posed: _Posed) -> None:
        """Say what came of it, whatever happens."""
        try:
            reply: Answer | Failure = Answer(posed.event.request.id, self._worked_out(posed))
        except SchedulerdError as error:
            reply = posed.without(error)
        except Exception as error:
            log.exception("question_failed")
            fault = InternalError(f"the question failed: {type(error).__name__}; see the daemon's log")
            reply = posed.without(fault)
        self._announcer.answer(posed.event.identity, reply)
        self._announcer.flush()

    def _worked_out(self, posed: _Posed) -> dict[str, Any]:
        def over() -> bool:
            return self._aside.ending() or self._clock.now_s() > posed.until_s

        try:
            if over():  # while it waited for its turn
                raise Abandoned
            return posed.question(Allowance(self._solver, over))
        except Abandoned:
            if self._aside.ending():
                raise ShuttingDown("the daemon is stopping; ask the next one") from None
            raise Overloaded(
                f"the answer took more than {PATIENCE_S:g} s; lower [solver] time_limit_s, or ask with fewer apps"
            ) from None
        except KeyError as error:
            # Between two plans a route may have lost a blob, or an app its last usable block.
            raise Overloaded(f"{error.args[0]}; a plan without it is due, ask again then") from error


@dataclass(frozen=True, slots=True)
class _Posed:
    """A question on its way."""

    event: Asked
    question: Question
    until_s: float
    known: dict[str, Any] | None

    def without(self, error: SchedulerdError) -> Answer | Failure:
        """What is told where it cannot be worked out."""
        message_id = self.event.request.id
        if self.known is not None:
            return Answer(message_id, self.known)
        return Failure(message_id, error.code, str(error))
