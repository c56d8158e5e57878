"""All metrics, in the order of the page: the one table that the endpoint and docs/metrics.md are made of."""

from __future__ import annotations

from typing import Final

from schedulerd.metrics import of_apps, of_board, of_gpus, of_plans
from schedulerd.metrics.family import Family

GROUPS: Final[dict[str, tuple[Family, ...]]] = {
    "Apps": of_apps.FAMILIES,
    "Plans and totals": of_plans.FAMILIES,
    "The board": of_board.FAMILIES,
    "GPUs": of_gpus.FAMILIES,
}
"""By the title of their part of the page."""

FAMILIES: Final = tuple(family for group in GROUPS.values() for family in group)
