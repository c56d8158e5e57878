"""What operators ask of drains, and what is due of them at every turn: plans without who is drained, and answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from schedulerd.clock import Clock
from schedulerd.control.announcer import Announcer
from schedulerd.control.answers import Respond
from schedulerd.control.drains import Drains, Ended
from schedulerd.control.occasions import Cause
from schedulerd.control.plan_report import Decision
from schedulerd.control.planner import Planner
from schedulerd.errors import BadValue, SchedulerdError, StoreFault
from schedulerd.serving.apps import LiveApp, Registry, drained_by_operator
from schedulerd.serving.events import Asked, Joined
from schedulerd.wire.messages import Answer, Drain, Failure, Resume


def is_of_drains(event: object) -> bool:
    """Whether an operator asks to drain somebody, or to resume."""
    return isinstance(event, Asked) and isinstance(event.request, Drain | Resume)


class DrainDesk:
    """The control thread is the only caller."""

    def __init__(
        self,
        drains: Drains,
        registry: Registry,
        planner: Planner,
        announcer: Announcer,
        decision: Callable[[], Decision],
        take_out: Callable[[LiveApp], None],
        clock: Clock,
    ) -> None:
        """Args: drains; registry; planner; announcer: tells; decision: the last one; take_out: of the plan; clock."""
        self._drains = drains
        self._registry = registry
        self._planner = planner
        self._announcer = announcer
        self._decision = decision
        self._take_out = take_out
        self._clock = clock

    def take_in(self, events: Sequence[object]) -> tuple[list[Cause], list[Respond]]:
        """Why a plan has to be made, and who is to be answered after it: what is due, then what is asked of drains."""
        causes, waiting = self._due()
        for event in events:
            if isinstance(event, Asked) and isinstance(event.request, Drain | Resume):
                cause, respond = self._asked(event, event.request)
                causes += [cause] if cause else []
                waiting += [respond] if respond else []
        return causes, waiting

    def _due(self) -> tuple[list[Cause], list[Respond]]:
        """What follows from earlier turns.

        Whatever a lane was about to accept when an app was drained has been accepted, or refused, by then.
        """
        causes = []
        for app in self._drains.rested():
            self._take_out(app)
            app.route = None
            causes.append(Cause(f"{app.spec.app_id} is drained", urgent=True))
        return causes, [partial(self._drained, ended) for ended in self._drains.ended(self._clock.now_s())]

    def _asked(self, event: Asked, request: Drain | Resume) -> tuple[Cause | None, Respond | None]:
        """The same of one request; a drain is answered at a later turn."""
        try:
            if isinstance(request, Drain):
                self._drains.drain(event, request, self._clock.now_s())
                return None, None
            names = self._drains.resume(request)
        except SchedulerdError as error:
            return None, partial(self._refuse, event, error)
        live = [name for name in names if self._registry.find(name) is not None]
        cause = Cause(f"{', '.join(live)} {'is' if len(live) == 1 else 'are'} resumed", urgent=True) if live else None
        return cause, partial(self._resumed, event, names)

    def turns_away(self, event: Joined) -> bool:
        """Whether an app that wants to join is held; then it is told so, and is not there."""
        app = event.app
        if not self._drains.holds(app.spec.app_id):
            return False
        self._registry.remove(app)
        self._drains.left(app)
        error = drained_by_operator(app.spec.app_id)
        self._announcer.reply(app, Failure(event.message_id, error.code, str(error)))
        return True

    def _refuse(self, event: Asked, error: SchedulerdError, _: SchedulerdError | None) -> None:
        self._announcer.answer(event.identity, Failure(event.request.id, error.code, str(error)))

    def _drained(self, ended: Ended, fault: SchedulerdError | None) -> None:
        """The apps are held whatever came of the plan without them."""
        if ended.resumed:
            self._refuse(ended.event, BadValue("resumed before nothing was in flight any more; drain again"), None)
            return
        said = str(fault) if fault is not None else self._said(ended)
        result = {"drained": list(ended.names), "in_flight": dict(ended.in_flight), **self._plan(said)}
        self._announcer.answer(ended.event.identity, Answer(ended.event.request.id, result))

    def _said(self, ended: Ended) -> str:
        if not ended.names:
            return "nobody is connected whom that would be"
        if not ended.in_flight:
            return self._decision().sentence
        many = ", ".join(f"{count} of {name}" for name, count in ended.in_flight.items())
        return f"requests are still in flight: {many}; an app leaves the plan when its own have ended"

    def _resumed(self, event: Asked, names: tuple[str, ...], fault: SchedulerdError | None) -> None:
        """Whoever is there has a route again, or this is no success."""
        for app in filter(None, map(self._registry.find, names)):
            if app.route is None:
                found = fault or self._planner.stranded.get(app.spec.app_id)
                self._refuse(event, found or StoreFault(f"no route for {app.spec.app_id!r} could be loaded"), None)
                return
        live = any(map(self._registry.find, names))
        said = self._decision().sentence if live else "whoever is resumed is not connected, and may register"
        self._announcer.answer(event.identity, Answer(event.request.id, {"resumed": list(names), **self._plan(said)}))

    def _plan(self, said: str) -> dict[str, Any]:
        return {"plan": self._decision().plan.number, "sentence": said}
