"""What those who wait are told once the turn has planned: clients that register, and operators who asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from schedulerd.control import edit_report, report
from schedulerd.control.advisor import Advisor, Moment
from schedulerd.control.announcer import Announcer, registered
from schedulerd.control.app_edits import AppEdit
from schedulerd.control.edit_report import is_edit
from schedulerd.control.keeper import Keeper
from schedulerd.control.log_level import log_level
from schedulerd.control.planner import Planner
from schedulerd.errors import SchedulerdError, StoreFault
from schedulerd.serving.apps import Registry
from schedulerd.serving.events import Asked, Joined, Viewed
from schedulerd.sizes import size_text
from schedulerd.wire.messages import Answer, Failure, LogLevel, Objective, ShowOverrides, WhatIf, Why

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
        keeper: Keeper,
        now: Callable[[], report.Now],
        moment: Callable[[], Moment],
    ) -> None:
        """Answers from what the loop knows.

        Args: announcer: tells it; registry: of the live apps; planner; advisor: answers what takes further decisions;
        keeper: of what is set; now: what the loop knows at the moment; moment: what it would decide on.
        """
        self._announcer = announcer
        self._registry = registry
        self._planner = planner
        self._advisor = advisor
        self._keeper = keeper
        self._now = now
        self._moment = moment

    def give(self, respond: Respond, fault: SchedulerdError | None) -> None:
        """Answer one; a fault while answering must not keep the others waiting."""
        try:
            respond(fault)
        except Exception:
            log.exception("answer_failed")

    def show(self, events: Sequence[object]) -> None:
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
            if fault is not None and is_edit(event.request):
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
        elif isinstance(request, LogLevel):
            self._announcer.answer(event.identity, Answer(request.id, log_level(request.level)))
        elif isinstance(request, ShowOverrides):
            self._tell_kept(event, edit_report.overrides_map(self._keeper.overrides, self._registry.all()))
        elif is_edit(request):
            self._answer_edit(event, edit_report.answer(request, self._now()))
        elif isinstance(request, Objective):
            self._announcer.answer(event.identity, Answer(request.id, edit_report.answer(request, self._now())))
        else:
            self._announcer.answer(event.identity, Answer(request.id, report.answer(request, self._now())))

    def _answer_edit(self, event: Asked, result: dict[str, Any]) -> None:
        request = event.request
        if isinstance(request, AppEdit) and (result["miss_ms"] or 0.0) > 0:
            app, moment = request.app, self._moment()
            self._keeper.tell(lambda kept: self._advisor.nearest_budget(event, app, {**result, **kept}, moment))
        else:
            self._tell_kept(event, result)

    def _tell_kept(self, event: Asked, result: Mapping[str, Any]) -> None:
        """Answer with the result, and with whether what is set outlives the daemon."""

        def tell(kept: Mapping[str, Any]) -> None:
            self._announcer.answer(event.identity, Answer(event.request.id, {**result, **kept}))
            self._announcer.flush()

        self._keeper.tell(tell)

    def reloaded(self, event: Asked, changed: Mapping[str, Any], planned: bool, fault: SchedulerdError | None) -> None:
        """To an operator whose configuration is in force; `planned`: a plan had to be made for it."""
        decision, said = self._now().decision, ""
        if planned:
            said = decision.sentence if fault is None else str(fault)
        notes = [note for row in changed["applied"] if (note := self._behind(row["section"], row["key"]))]
        result = {**changed, "notes": notes, "plan": decision.plan.number, "sentence": said}
        self._announcer.answer(event.identity, Answer(event.request.id, result))

    def _behind(self, section: str, key: str) -> str:
        """What an operator has set that counts more than a key of the configuration; empty where nothing does."""
        if (section, key) == ("solver", "objective") and self._planner.operator_objective is not None:
            return f"the operator's objective {self._planner.objective} stands; see `schedctl overrides`"
        if (section, key) == ("limits", "memory") and self._planner.operator_memory_bytes is not None:
            said = size_text(self._planner.operator_memory_bytes)
            return f"the operator's memory limit of {said} stands too; see `schedctl overrides`"
        return ""

    def refuse(self, event: Asked, error: SchedulerdError) -> Respond:
        """To an operator whose edit cannot be taken in, whatever is planned."""
        failure = Failure(event.request.id, error.code, str(error))
        return lambda _: self._announcer.answer(event.identity, failure)
