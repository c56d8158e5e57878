"""One request on its way through the queue and the executor."""

from __future__ import annotations

from typing import Any, NamedTuple

from schedulerd.serving.apps import LiveApp
from schedulerd.serving.engines.base import Array
from schedulerd.serving.passage import Passage
from schedulerd.serving.prefix import Shared, StreamFrame
from schedulerd.serving.route import LoadedRoute


class Row(NamedTuple):
    """Where the output of a job's last block is, if that ran as part of a batch."""

    batch: Any
    """Outputs of all of them, `[frames, ...]`; the job's tensor is a view into it."""
    number: int
    next_block: int
    """Of the job at that time: it is of no use any more when the job has gone on by itself."""


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
        "frame",
        "heads_ms",
        "in_batches",
        "message_id",
        "next_block",
        "passage",
        "prepared_ms",
        "route",
        "row",
        "shared",
        "taken_over",
        "tensor",
        "waits_since_s",
    )

    def __init__(
        self,
        app: LiveApp,
        message_id: int,
        array: Array,
        arrived_s: float,
        asked: tuple[str, ...] = (),
        frame: StreamFrame | None = None,
    ) -> None:
        self.app = app
        self.message_id = message_id
        self.asked = asked
        """Exits whose outputs the request asks for; empty where the policy decides."""
        self.array = array
        """The frame as it came, as a batch of one: `[1, *app.input.shape]`."""
        self.frame = frame
        """Which picture it is, where the request says so."""
        self.shared: Shared | None = None
        """What other apps have computed of it, from the start on where there are any."""
        self.taken_over = 0
        """Blocks that did not have to run, as another app's request had run them."""
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
        self.prepared_ms = 0.0
        """Time spent making the model's input of the frame."""
        self.blocks_ms: list[float] = []
        """Time spent inside each block so far, without exits."""
        self.heads_ms = 0.0
        """Time spent at exits."""
        self.row: Row | None = None
        self.in_batches = False
        """Whether some block ran on other frames as well: its times say nothing about the profile of single frames."""
        self.waits_since_s = arrived_s
        """When it last began to wait; the queue's."""

    def input(self) -> Array:
        """The frame as the model takes it, `[1, *input shape]`; what a camera gave is prepared now."""
        preparation = self.app.preparation
        return self.array if preparation is None else preparation.run(self.array)
