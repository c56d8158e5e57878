"""Apps that an operator holds: they get no new work, end what they have, and leave the plan until they are resumed.

A name is held, not a connection: an app that comes back under it is refused until then. The steps of a drained app are
`draining` (what comes is refused, what was accepted runs), `drained` (nothing is in flight, and the plan is without
it), and back: once resumed it is planned for, and accepts again when its route runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schedulerd.errors import BadValue, Overloaded
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.serving.events import Asked
from schedulerd.typed import did_you_mean
from schedulerd.wire.messages import MAX_DRAIN_S, Drain, Resume

MOST_WAITING: Final = 64
"""Drains whose answers are due later."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A drain that an operator waits for has come to its end, or its time is up."""

    event: Asked
    names: tuple[str, ...]
    """Of the apps that were there."""
    in_flight: Mapping[str, int]
    """Requests that are still open, by app; empty where none is."""
    resumed: bool = False
    """Somebody has taken it back."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: Asked
    names: tuple[str, ...]
    until_s: float


class Drains:
    """Who is held; the control thread is the only caller."""

    def __init__(self, registry: Registry, publish: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Nobody is held. Args: registry: of the live apps; publish: sends an event of a kind with its body."""
        self._registry = registry
        self._publish = publish
        self.everyone = False
        """Whoever registers is held too, but for `_let_go`."""
        self._names: set[str] = set()
        self._let_go: set[str] = set()
        self._draining: dict[str, LiveApp] = {}
        """What they have accepted still runs."""
        self._returning: dict[str, LiveApp] = {}
        """They are planned for again, and have no route yet."""
        self._waiting: list[_Waiting] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Who is held by name, whether or not an app of that name is there."""
        return tuple(sorted(self._names))

    def holds(self, app_id: str) -> bool:
        """Whether an app of that name gets no work."""
        return app_id in self._names or (self.everyone and app_id not in self._let_go)

    def rests(self, app: LiveApp) -> bool:
        """Whether an app has no part in plans."""
        return app.drained and app.spec.app_id not in self._draining and app.spec.app_id not in self._returning

    # What operators ask.

    def drain(self, event: Asked, request: Drain, now_s: float) -> None:
        """From now on what comes for these apps is refused; the answer is due when `ended` says so.

        Raises `UnknownApp`, `BadValue` or `Overloaded`.
        """
        if not 0.0 <= request.timeout_s <= MAX_DRAIN_S:
            raise BadValue(f"timeout_s is {request.timeout_s:g}; it must be 0 to {MAX_DRAIN_S:g}")
        if len(self._waiting) >= MOST_WAITING:
            raise Overloaded(f"{MOST_WAITING} drains are waited for, which is the limit; ask again later")
        if request.app is None:
            self.everyone, apps = True, self._registry.all()
            self._let_go.clear()
            self._publish("drain", {"app": None, "change": "draining"})
        elif self.holds(request.app) and self._registry.find(request.app) is None:
            apps = ()  # once more, to hear that nothing of it is in flight
        else:
            apps = (self._registry.named(request.app),)
        for app in apps:
            self._hold(app)
        names = tuple(app.spec.app_id for app in apps)
        self._waiting.append(_Waiting(event, names, now_s + request.timeout_s))

    def resume(self, request: Resume) -> tuple[str, ...]:
        """Who is let go; what is there of them is planned for from now on. `BadValue` where that is nobody."""
        if request.app is None:
            names = sorted({*self._names, *(app.spec.app_id for app in self._registry.all() if app.drained)})
            self._names.clear()
            self._let_go.clear()
            self.everyone = False
            self._publish("drain", {"app": None, "change": "resumed"})
        else:
            if not self.holds(request.app):
                raise BadValue(
                    f"{request.app!r} is not drained; drained are: {', '.join(self._names) or 'none'}"
                    f"{did_you_mean(request.app, self._names)}"
                )
            names = [request.app]
            self._names.discard(request.app)
            self._let_go |= {request.app} if self.everyone else set()
        for name in names:
            self._release(name)
        return tuple(names)

    # At every turn.

    def rested(self) -> Iterator[LiveApp]:
        """Apps of which nothing is in flight any more, each once: they leave the plan."""
        for name, app in list(self._draining.items()):
            if not app.queued:
                del self._draining[name]
                self._publish("drain", {"app": name, "change": "drained"})
                yield app

    def ended(self, now_s: float) -> list[Ended]:
        """The drains whose answer is due, each once. Where the clock was set back they wait the longer."""
        found, left = [], []
        for waiting in self._waiting:
            in_flight = {name: self._draining[name].queued for name in waiting.names if name in self._draining}
            resumed = any(not self.holds(name) for name in waiting.names)
            due = resumed or not in_flight or now_s >= waiting.until_s
            if due:
                found.append(Ended(waiting.event, waiting.names, in_flight, resumed))
            else:
                left.append(waiting)
        self._waiting = left
        return found

    def settle(self) -> None:
        """A plan was made: those who have a route, or nothing that could be run, take requests again."""
        for name, app in list(self._returning.items()):
            if app.route is not None or app.stranded is not None:
                del self._returning[name]
                app.drained = False

    def left(self, app: LiveApp) -> None:
        """An app has left; its name is held on."""
        for apps in (self._draining, self._returning):
            if apps.get(app.spec.app_id) is app:
                del apps[app.spec.app_id]

    def unanswered(self) -> list[Asked]:
        """Who still waits when the daemon ends."""
        waiting, self._waiting = self._waiting, []
        return [one.event for one in waiting]

    def _hold(self, app: LiveApp) -> None:
        name = app.spec.app_id
        self._names.add(name)
        self._let_go.discard(name)
        if app.drained and name not in self._returning:
            return
        self._returning.pop(name, None)
        app.drained = True
        self._draining[name] = app
        self._publish("drain", {"app": name, "change": "draining"})

    def _release(self, name: str) -> None:
        app = self._registry.find(name)
        if app is not None and app.drained:
            # Until it has a route again whoever asks is told that it is drained, not that it is unknown.
            self._draining.pop(name, None)
            self._returning[name] = app
        self._publish("drain", {"app": name, "change": "resumed"})
