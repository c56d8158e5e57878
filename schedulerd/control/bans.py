"""For how long a blob is left out of plans that failed as it ran. Pure.

| what a blob did | left out | for how long |
| --- | --- | --- |
| it raised an error | at once | 10 s |
| it gave NaN or infinities | at once | 10 min |
| either, and it is needed | at the third time within 10 s | 10 s |

Needed is the original of a block, and what nothing else can be run in place of. What fails within a second of the time
before is the same time: several requests may fail for one reason.

Each time doubles the one before, up to a day. A blob that has been back for as long as it was away, and ten minutes at
least, without a fault is as good as new. So what lacked memory once is back soon, what never works costs a request now
and then, and an original stays for as long as it works most of the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

FIRST_S: Final = 10.0
FIRST_WITHOUT_NUMBERS_S: Final = 600.0
"""The same weights on a like frame give NaN again."""
LONGEST_S: Final = 86_400.0
_MOST_DOUBLINGS: Final = 20
"""By then it is `LONGEST_S`."""
FORGIVEN_S: Final = 600.0
"""Without a fault, at least, until the next one counts as the first."""
SPARED_TIMES: Final = 2
"""Times that what is needed is forgiven within `SPARED_WITHIN_S`."""
SPARED_WITHIN_S: Final = 10.0
APART_S: Final = 1.0
"""What fails sooner after a time is the same time."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is held against one blob."""

    bans: int = 0
    """Times that it was left out, since it was as good as new."""
    length_s: float = 0.0
    """Of the last time."""
    until_s: float = -math.inf
    """Its end."""
    forgiven_s: tuple[float, ...] = ()
    """When it failed since then and was spared."""

    def is_out(self, now_s: float) -> bool:
        """Whether it is left out now."""
        return now_s < self.until_s


def after_fault(before: Standing, now_s: float, *, no_numbers: bool, needed: bool) -> Standing:
    """What is held against a blob that has failed now.

    Args: before; now_s; no_numbers: it gave NaN or infinities, else it raised an error; needed: it is the original of
    its block, or nothing else can be run in its place.
    """
    if before.is_out(now_s):  # a request that was under way
        return before
    if needed:
        recent_s = tuple(at_s for at_s in before.forgiven_s if now_s - at_s <= SPARED_WITHIN_S)
        if recent_s and now_s - recent_s[-1] < APART_S:
            return before
        if len(recent_s) < SPARED_TIMES:
            return replace(before, forgiven_s=(*recent_s, now_s))
    bans = 0 if now_s - before.until_s > max(FORGIVEN_S, before.length_s) else before.bans
    first_s = FIRST_WITHOUT_NUMBERS_S if no_numbers and not needed else FIRST_S
    length_s = min(LONGEST_S, first_s * 2.0 ** min(bans, _MOST_DOUBLINGS))
    return Standing(bans + 1, length_s, now_s + length_s)
