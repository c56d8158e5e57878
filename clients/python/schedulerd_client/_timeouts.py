"""How long a call may wait."""

from __future__ import annotations

import math


def checked_timeout_s(timeout_s: float) -> float:
    """ValueError unless above 0 and finite: nothing waits for ever."""
    if not 0.0 < timeout_s < math.inf:
        raise ValueError(f"timeout_s is {timeout_s}; it must be above 0 and finite")
    return timeout_s
