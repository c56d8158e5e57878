"""What the request path tells the control loop: apps that come and go, what operators ask, and what fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Faulted:
    """Something on a route failed as it ran; the request that met it has been answered."""

    app_id: str
    digests: tuple[str, ...]
    """Its blob; of blocks that run merged, each one's."""
    reason: str
    no_numbers: bool
    """It gave NaN or infinities where it was given numbers; else it raised an error."""


@dataclass(frozen=True, slots=True)
class Viewed:
    """Somebody wants to see all that the control loop knows, once, and hurries nothing by it."""

    show: Callable[[Any], None]
    """Is given the loop's `report.Now`; it must neither raise nor wait."""


Event = Joined | Left | Asked | Faulted | Viewed
