"""One request on its way through the queue and the executor."""

from __future__ import annotations

from typing import Any

from schedulerd.serving.apps import LiveApp
from schedulerd.serving.engines.base import Array
from schedulerd.serving.passage import Passage
from schedulerd.serving.route import LoadedRoute


class Job:
    """A frame that waits or runs. Owned by exactly one lane at a time: whoever took it from the queue."""

    __slots__ = (
        "app",
        "array",
        "arrived_s",
        "asked",
        "blocks_ms",
        "budget_ms",
        "deadline_s",
        "heads_ms",
        "message_id",
        "next_block",
        "passage",
        "route",
        "tensor",
    )

    def __init__(
        self, app: LiveApp, message_id: int, array: Array, arrived_s: float, asked: tuple[str, ...] = ()
    ) -> None:
        self.app = app
        self.message_id = message_id
        self.asked = asked
        """Exits whose outputs the request asks for; empty where the policy decides."""
        self.array = array
        """The frame as a batch of one, `[1, *input shape]`."""
        self.arrived_s = arrived_s
        self.budget_ms = app.spec.budget_ms
        """The budget in force when the request arrived; an edit applies from the next request on."""
        self.deadline_s = arrived_s + self.budget_ms * 1e-3
        self.route: LoadedRoute | None = None
        """Taken from the app once, when the request starts; pinned until it ends."""
        self.passage: Passage | None = None
        """Its way past the exits, where the route has any."""
        self.tensor: Any = None
        """The output of the last block that ran, in the engine's own form."""
        self.next_block = 0
        self.blocks_ms: list[float] = []
        """Time spent inside each block so far, without exits."""
        self.heads_ms = 0.0
        """Time spent at exits."""
