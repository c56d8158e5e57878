"""What a user gets back: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schedulerd.wire.messages import TensorHeader


@dataclass(frozen=True, slots=True)
class Registration:
    """What the daemon promises an app; predictions are for the plan of that moment."""

    app: str
    """The app's name: the one asked for, or made from the model's."""
    model: str
    input: TensorHeader
    """Dtype and shape of one frame."""
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
    """By how much the predicted p95 exceeds the budget; 0 when it is met."""
    plan: int
    outputs: tuple[TensorHeader, ...] = ()
    """Of a model with several outputs, each of them; else empty."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The outputs for one frame, and what they cost."""

    outputs: Any
    """An array `[1, *Registration.output.shape]` of its dtype, usually float32 logits `[1, classes]`; read-only. Of a
    model with several outputs, a tuple with one such array for each of `Registration.outputs`. Which of the two is
    settled by the model, at registration: a union would have every reader of every reply tell them apart again."""
    route: tuple[str, ...]
    """Variant of each block that ran."""
    accuracy: float
    """Predicted for this route, 0 to 1."""
    plan: int
    queue_ms: float
    """In the daemon, outside of the blocks."""
    run_ms: float
    """Inside the blocks."""
    budget_ms: float
    """The budget in force when the frame arrived: an operator may have changed it."""
    deadline_met: bool
    """Ready within `budget_ms` of its arrival at the daemon."""
    latency_ms: float
    """Round trip, from the call to its reply, with every reconnection in between."""
