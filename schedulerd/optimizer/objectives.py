"""What an operator may ask for among the plans that keep the limits."""

from __future__ import annotations

from typing import Final

MAX_ACCURACY, MIN_LATENCY, MIN_ENERGY, MAX_FAIRNESS = "max-accuracy", "min-latency", "min-energy", "max-fairness"
OBJECTIVES: Final = (MAX_ACCURACY, MIN_LATENCY, MIN_ENERGY, MAX_FAIRNESS)
"""What is best among the plans that exceed the limits least.

`max-accuracy`: the least weighted loss of accuracy, each app's as a share of its full one. `min-latency`: the least
mean time of a frame as a share of its budget, weighted. `min-energy`: the least power. `max-fairness`: the largest loss
of any app is as small as it can be, whatever its priority; then as `max-accuracy`.
"""
