"""Whether what an operator sets makes sense; what does not is refused with value, limit and remedy."""

from __future__ import annotations

from schedulerd.errors import BadValue
from schedulerd.optimizer.objectives import OBJECTIVES
from schedulerd.typed import did_you_mean


def check_memory_bytes(memory_bytes: int) -> None:
    """`BadValue` unless above 0."""
    if memory_bytes <= 0:
        raise BadValue(f"memory limit is {memory_bytes} bytes; give more than 0, or `auto`")


def check_objective(objective: str) -> None:
    """`BadValue` with the nearest name unless there is such an objective."""
    if objective not in OBJECTIVES:
        nearest = did_you_mean(objective, OBJECTIVES)
        raise BadValue(f"objective is {objective!r}; it must be one of {', '.join(OBJECTIVES)}{nearest}")
