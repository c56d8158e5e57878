"""What the metrics are read off: everything that the daemon knows at the moment of a scrape.

The control loop's knowledge is asked of its thread, which owns it. What the request path counts is in the apps'
meters, which are read as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from schedulerd.control.report import Now
from schedulerd.control.tally import Totals
from schedulerd.plan import AppPlan
from schedulerd.serving.apps import LiveApp


class AppSeen(NamedTuple):
    """One app that is there."""

    live: LiveApp
    planned: AppPlan | None
    """Its part of the running plan, None until it has one."""
    swaps: int
    measured_p50_ms: float | None
    """Of the last moments, as the next one; None of nothing."""
    measured_p95_ms: float | None

    @property
    def name(self) -> str:
        """Under which it is registered."""
        return self.live.spec.app_id


class View(NamedTuple):
    """Of one moment."""

    now: Now
    age_s: float
    """Since the control loop looked at the board; more than its tick where it is busy, and did not answer."""
    apps: tuple[AppSeen, ...]
    """Those that are there, in order of name."""
    totals: Totals
    """Of these and of all that have left; none of its parts ever falls."""
    refused: Mapping[str, int]
    """Refusals by code of those who are no app."""
    silence_s: Mapping[str, float]
    """By thread of the daemon, since when it has not come round."""
