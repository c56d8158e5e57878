"""Any percentile of a block's time from its median and 95th: logarithms of times are taken as normally distributed.

Times of blocks are skewed to the right, and of skewed families the log-normal is the one that two percentiles fix and
that never goes below 0. For 50 and 95 what was measured comes out, whatever the distribution.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist
from typing import Final

MEASURED: Final = 95.0
"""The percentile that profiles have beside the median."""


def at_percentile(median_ms: float, p95_ms: float, percentile: float) -> float:
    """The time at `percentile`, above 0 and below 100; a median of 0 stays 0."""
    if percentile == MEASURED or median_ms <= 0:
        return p95_ms
    return float(median_ms * (p95_ms / median_ms) ** exponent(percentile))


@lru_cache(maxsize=256)
def exponent(percentile: float) -> float:
    """How often the ratio of 95th percentile to median is in that of `percentile` to the median: 0 at 50, 1 at 95."""
    normal = NormalDist()
    return normal.inv_cdf(percentile / 100.0) / normal.inv_cdf(MEASURED / 100.0)
