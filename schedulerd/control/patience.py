"""How long to wait before more is given again of what was taken away. Pure.

What the board cannot bear any more is taken at once, and given back late. Where giving it back brings the trouble back,
the next wait is twice as long, else half as long (exponential backoff, forgotten as it was learned): a board on the
edge would otherwise be driven over it again and again, and each time costs two swaps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class PatienceSettings:
    """How long to wait."""

    least_s: float
    most_s: float
    regret_s: float
    """Trouble within this time after something was given says that it was given too early."""


@dataclass(frozen=True, slots=True)
class Patience:
    """When something was taken last, and given last; times are monotonic seconds."""

    wait_s: float = 0.0
    taken_at_s: float = -math.inf
    given_at_s: float = -math.inf
    """-inf as well where something has been taken since."""


def taken(before: Patience, now_s: float, settings: PatienceSettings) -> Patience:
    """Something is taken away now."""
    wait_s = max(settings.least_s, before.wait_s)
    # Trouble that comes in several steps is one regret.
    if math.isfinite(before.given_at_s):
        too_early = now_s - before.given_at_s < settings.regret_s
        wait_s = min(settings.most_s, 2.0 * wait_s) if too_early else max(settings.least_s, wait_s / 2.0)
    return Patience(wait_s, now_s)


def given(before: Patience, now_s: float) -> Patience:
    """Some of it is given back now."""
    return replace(before, given_at_s=now_s)


def is_over(patience: Patience, now_s: float) -> bool:
    """Whether something may be given (again)."""
    return now_s - max(patience.taken_at_s, patience.given_at_s) >= patience.wait_s


def not_ahead(patience: Patience, now_s: float) -> Patience:
    """The same where the clock was set back: what seems to be still to come is taken to be now."""
    if max(patience.taken_at_s, patience.given_at_s) <= now_s:
        return patience
    return replace(patience, taken_at_s=min(patience.taken_at_s, now_s), given_at_s=min(patience.given_at_s, now_s))
