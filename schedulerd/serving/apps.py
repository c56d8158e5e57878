"""The apps that are connected now.

`LiveApp` is what the request path and the control loop share of one app. The control thread replaces `spec`,
`slowdown`, `drained` and `route` (single references: a reader sees the old value or the new one); the lanes write only
`meter`, `queued` and `shares_stream`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from itertools import chain, count

from blockstore.block import TensorSpec
from schedulerd.errors import AlreadyRegistered, Drained, NameTaken, NotRegistered, Overloaded, Refused, UnknownApp
from schedulerd.plan import App
from schedulerd.serving.meter import Meter
from schedulerd.serving.prepare import Preparation
from schedulerd.serving.route import LoadedRoute
from schedulerd.wire.messages import Camera


class LiveApp:
    """One registered client."""

    __slots__ = (
        "camera",
        "credit",
        "drained",
        "gone",
        "identity",
        "input",
        "meter",
        "output",
        "outputs",
        "preparation",
        "queued",
        "route",
        "shares_stream",
        "slowdown",
        "spec",
        "stranded",
        "uid",
        "wishes",
    )

    def __init__(
        self,
        spec: App,
        identity: bytes,
        input_spec: TensorSpec,
        output_spec: TensorSpec,
        outputs: tuple[TensorSpec, ...] = (),
        *,
        camera: Camera | None = None,
        preparation: Preparation | None = None,
        uid: int | None = None,
        credit: int = 0,
    ) -> None:
        """A client that has no route yet.

        Args: spec; identity; input_spec: of the model; output_spec; outputs; camera: whose frames it sends;
        preparation: of these, None where they are the model's input; uid: of its user; credit.
        """
        self.spec = spec
        self.wishes = spec
        """As it registered; `spec` has what an operator set in its place."""
        self.identity = identity
        """The client's routing id on the inference socket."""
        self.input = input_spec if preparation is None else preparation.frame
        """What its requests carry."""
        self.camera = camera
        self.preparation = preparation
        self.uid = uid
        """From the kernel; None where it does not say."""
        self.credit = credit
        """Requests that may wait or run; 0 where nobody has said."""
        self.output = output_spec
        self.outputs = outputs
        """What the model's one tensor holds where the network has several outputs; else empty."""
        self.route: LoadedRoute | None = None
        """None until the first plan for this app is in place, and while nothing can be run for it."""
        self.stranded: Callable[[], Refused] | None = None
        """Makes the answer to its requests while nothing can be run for it."""
        self.slowdown = 1.0
        """Of the 95th percentile of the route's times against the profile, as the control loop last saw it."""
        self.meter = Meter()
        self.queued = 0
        """Requests waiting or running; written under the queue's lock."""
        self.shares_stream = False
        """Another app sent its last frame's stream too."""
        self.drained = False
        """An operator holds the app: what it sends is refused."""
        self.gone = False
        """The client has left or died: its waiting requests are dropped."""

    def without_route(self) -> Refused:
        """What its requests are refused with while it has no route, or is drained."""
        if self.drained:
            return drained_by_operator(self.spec.app_id)
        stranded = self.stranded  # once, for the control loop may take it away meanwhile
        if stranded is not None:
            return stranded()
        return NotRegistered(f"{self.spec.app_id!r} has no route yet, or no more; wait for the answer to `register`")


def drained_by_operator(app_id: str) -> Drained:
    """What an app is told that an operator holds."""
    return Drained(f"an operator has drained {app_id!r}: it gets no work; try again after `schedctl resume {app_id}`")


class Registry:
    """Live apps by connection and by name; every method is atomic."""

    def __init__(self, most: int) -> None:
        """No app yet, and room for `most`."""
        self._most = most
        self._lock = threading.Lock()
        self._by_identity: dict[bytes, LiveApp] = {}
        self._by_name: dict[str, LiveApp] = {}

    def add(self, app: LiveApp) -> None:
        """Let an app in.

        Raises:
            AlreadyRegistered: a second registration on one connection.
            NameTaken: a live app has that name.
            Overloaded: there are as many apps as there may be.
        """
        with self._lock:
            present = self._by_identity.get(app.identity)
            if present is not None:
                raise AlreadyRegistered(
                    f"this connection is registered as {present.spec.app_id!r}; unregister first, or connect anew"
                )
            if app.spec.app_id in self._by_name:
                raise NameTaken(
                    f"app name {app.spec.app_id!r} is in use by a live client; choose another, or let it leave first"
                )
            if len(self._by_name) >= self._most:
                raise Overloaded(
                    f"{len(self._by_name)} apps are connected, and {self._most} can be planned together; register when "
                    f"one has left"
                )
            self._by_identity[app.identity] = app
            self._by_name[app.spec.app_id] = app

    def free_name(self, model: str, reserved: Collection[str] = ()) -> str:
        """The model's name, or the name with the lowest number that is free: `digits`, `digits-2`, `digits-3`.

        `reserved` are names that are as good as taken.
        """
        with self._lock:
            taken = {*self._by_name, *reserved}
        numbered = (f"{model}-{number}" for number in count(2))
        return next(name for name in chain((model,), numbered) if name not in taken)

    def remove(self, app: LiveApp) -> bool:
        """Forget an app and mark it gone; False when it was forgotten already."""
        with self._lock:
            app.gone = True
            if self._by_identity.get(app.identity) is not app:
                return False
            del self._by_identity[app.identity]
            del self._by_name[app.spec.app_id]
            return True

    def of(self, identity: bytes) -> LiveApp | None:
        """The app of a connection. Without the lock: a single dictionary look-up on the request path."""
        return self._by_identity.get(identity)

    def find(self, app_id: str) -> LiveApp | None:
        """The app of that name, or None."""
        with self._lock:
            return self._by_name.get(app_id)

    def named(self, app_id: str) -> LiveApp:
        """The app of that name; `UnknownApp` gives the names there are."""
        with self._lock:
            app = self._by_name.get(app_id)
            if app is None:
                known = ", ".join(sorted(self._by_name)) or "none is connected"
                raise UnknownApp(f"no app {app_id!r}; apps: {known}")
            return app

    def all(self) -> tuple[LiveApp, ...]:
        """Every live app, in order of name."""
        with self._lock:
            return tuple(self._by_name[name] for name in sorted(self._by_name))
