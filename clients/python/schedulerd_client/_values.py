"""What a user gets back: frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schedulerd.wire.messages import FINAL, TensorHeader


@dataclass(frozen=True, slots=True)
class Registration:
    """What the daemon promises an app; predictions are for the plan of that moment."""

    app: str
    """The app's name: the one asked for, or made from the model's."""
    model: str
    input: TensorHeader
    """Dtype and shape of one frame; the camera's, where one was registered."""
    output: TensorHeader
    """Dtype and shape of what comes back for one frame; of a model with several outputs, all of them joined."""
    labels: tuple[str, ...]
    """Names of the classes, where the model has any."""
    route: tuple[str, ...]
    """Variant of each block."""
    accuracy: float
    """Predicted for this route, 0 to 1."""
    latency_ms: float
    """Predicted median."""
    latency_p95_ms: float
    miss_ms: float
    """By how much the predicted percentile that the budget is about exceeds it; 0 when it is met."""
    plan: int
    outputs: tuple[TensorHeader, ...] = ()
    """Of a model with several outputs, each of them; else empty."""
    policy: Mapping[str, float] = field(default_factory=dict)
    """Exits that are enabled -> confidence from which a frame leaves there; 0 for the last."""
    exit_shares: Mapping[str, float] = field(default_factory=dict)
    """Share of the frames that is expected to leave at each of these."""
    exits: tuple[str, ...] = ()
    """Every exit of the model, by rising depth, without `final`."""
    credit: int = 0
    """How many requests may be open at once; 0 where the daemon does not say."""


class Reply(NamedTuple):
    """The outputs for one frame, and what they cost."""

    outputs: Any
    """An array `[1, *Registration.output.shape]` of its dtype, usually float32 logits `[1, classes]`; read-only. Of a
    model with several outputs, a tuple with one such array for each of `Registration.outputs`. Which of the two is
    settled by the model, at registration: a union would have every reader of every reply tell them apart again. Where
    the request asked for exits, a tuple with such outputs for each of `exits`."""
    route: tuple[str, ...]
    """Variant of each block of the route, up to its last exit; `exit` says how far this frame ran."""
    accuracy: float
    """Expected of this answer, 0 to 1: of the route, or of frames that leave at that exit with that confidence."""
    plan: int
    queue_ms: float
    """In the daemon, outside of blocks and exits."""
    run_ms: float
    """Inside blocks and exits."""
    budget_ms: float
    """The budget in force when the frame arrived: an operator may have changed it."""
    deadline_met: bool
    """Ready within `budget_ms` of its arrival at the daemon."""
    latency_ms: float
    """Round trip, from the call to its reply, with every reconnection in between."""
    exit: str = FINAL
    """The deepest exit whose output this is."""
    left: str = "end"
    """Why the frame ran no further: `end`, `confident`, `deadline` (it would have been late) or `asked`."""
    confidence: float | None = None
    """Of `exit` in this output, 0 to 1; None at `final`, and where it is no number."""
    exits: tuple[str, ...] = ()
    """Whose outputs these are, in the order in which they were asked for; empty where none were."""
