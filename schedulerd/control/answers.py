"""What those who wait are told once the turn has planned: clients that register, and operators who asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from schedulerd.control import report
from schedulerd.control.advisor import Advisor, Moment
from schedulerd.control.announcer import Announcer, registered
from schedulerd.control.planner import Planner
from schedulerd.errors import SchedulerdError, StoreFault
from schedulerd.serving.apps import Registry
from schedulerd.serving.events import Asked, Event, Joined, Viewed
from schedulerd.wire.messages import Answer, ControlRequest, Failure, Objective, SetBudget, SetLimit, WhatIf, Why

log = structlog.get_logger(__name__)

Respond = Callable[[SchedulerdError | None], None]
"""Answers somebody; it is told what kept the plan from being put in place, if anything."""


class Answers:
    """One answer for everybody who waits."""

    def __init__(
        self,
        announcer: Announcer,
        registry: Registry,
        planner: Planner,
        advisor: Advisor,
        now: Callable[[], report.Now],
        moment: Callable[[], Moment],
    ) -> None:
        """Answers from what the loop knows.

        Args: announcer: tells it; registry: of the live apps; planner; advisor: answers what takes further decisions;
        now: what the loop knows at the moment; moment: what it would decide on.
        """
        self._announcer = announcer
        self._registry = registry
        self._planner = planner
        self._advisor = advisor
        self._now = now
        self._moment = moment

    def give(self, respond: Respond, fault: SchedulerdError | None) -> None:
        """Answer one; a fault while answering must not keep the others waiting."""
        try:
            respond(fault)
        except Exception:
            log.exception("answer_failed")

    def show(self, events: Sequence[Event]) -> None:
        """To those who only look, of the events of a turn: how things stand at its end."""
        viewers = [event for event in events if isinstance(event, Viewed)]
        if viewers:
            now = self._now()
            for viewer in viewers:
                viewer.show(now)

    def welcome(self, event: Joined, fault: SchedulerdError | None) -> None:
        """To an app that has joined: its route, or why there is none."""
        app, plan = event.app, self._planner.plan
        planned = plan.app(app.spec.app_id)
        if app.gone:
            return
        if app.route is None or planned is None:
            self._registry.remove(app)
            fault = fault or self._planner.stranded.get(app.spec.app_id)
            fault = fault or StoreFault(
                f"no route for {app.spec.model!r} could be loaded; see `schedulerd store verify`"
            )
            self._announcer.reply(app, Failure(event.message_id, fault.code, str(fault)))
            return
        self._announcer.publish("app", {"app": app.spec.app_id, "model": app.spec.model, "change": "joined"})
        model = self._planner.catalogue.models[app.spec.model]
        self._announcer.reply(app, registered(event.message_id, app, planned, plan.number, model))

    def answer(self, event: Asked, fault: SchedulerdError | None) -> None:
        """To an operator."""
        try:
            if fault is not None and _is_edit(event.request):
                raise fault
            self._answer(event)
        except SchedulerdError as error:
            self._announcer.answer(event.identity, Failure(event.request.id, error.code, str(error)))

    def _answer(self, event: Asked) -> None:
        request = event.request
        if isinstance(request, Why):
            self._advisor.why(event, request, self._moment())
        elif isinstance(request, WhatIf):
            self._advisor.whatif(event, request, self._moment())
        else:
            result = report.answer(request, self._now())
            if isinstance(request, SetBudget) and result["miss_ms"] > 0:
                self._advisor.nearest_budget(event, request.app, result, self._moment())
            else:
                self._announcer.answer(event.identity, Answer(request.id, result))

    def refuse(self, event: Asked, error: SchedulerdError) -> Respond:
        """To an operator whose edit cannot be taken in, whatever is planned."""
        failure = Failure(event.request.id, error.code, str(error))
        return lambda _: self._announcer.answer(event.identity, failure)


def _is_edit(request: ControlRequest) -> bool:
    """Whether the answer says what the plan that followed does."""
    if isinstance(request, Objective):
        return request.objective is not None
    return isinstance(request, SetBudget | SetLimit)
