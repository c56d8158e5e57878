"""What the request path tells the control loop: apps that come and go, and what operators ask."""

from __future__ import annotations

from dataclasses import dataclass

from schedulerd.serving.apps import LiveApp
from schedulerd.wire.messages import ControlRequest


@dataclass(frozen=True, slots=True)
class Joined:
    """A client registered; it waits for its answer until its first route is in place."""

    app: LiveApp
    message_id: int


@dataclass(frozen=True, slots=True)
class Left:
    """A client unregistered, or cannot be reached any more."""

    app: LiveApp
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """An operator's request on the control socket."""

    request: ControlRequest
    identity: bytes


Event = Joined | Left | Asked
