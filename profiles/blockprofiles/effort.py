"""How much time is spent on measuring: what `--quick` and `--thorough` mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Effort:
    """When enough has been measured. The time that is given for it ends it earlier, but not before `min_rounds`."""

    name: str
    min_rounds: int
    """Measured even when the time is up: a median of fewer is not worth having."""
    steady_rounds: int
    """Rounds after which a small spread ends the measurement."""
    max_rounds: int
    uncertainty: float
    """Of a median, relative to it, that is small enough."""
    designed: bool
    """Whether only a designed subset is measured and the rest predicted from it."""
    overrun_s: float | None = None
    """By how much the least may overrun the time that is given: after it nothing is set up any more, what is set up is
    measured in one round, and the rest is left to predictions. None: there is no such limit."""


QUICK: Final = Effort(
    "quick", min_rounds=3, steady_rounds=10, max_rounds=20, uncertainty=0.02, designed=True, overrun_s=10.0
)
STANDARD: Final = Effort("standard", min_rounds=5, steady_rounds=60, max_rounds=200, uncertainty=0.005, designed=False)
THOROUGH: Final = Effort(
    "thorough", min_rounds=20, steady_rounds=200, max_rounds=1000, uncertainty=0.002, designed=False
)
