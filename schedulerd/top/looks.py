"""What the view is drawn from: the daemon's answers at one moment, and the latencies of the moments before. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Answer = Mapping[str, Any]

KEPT: Final = 30
"""Looks whose latencies are kept: a quarter of a minute at two looks a second."""
_BARS: Final = "▁▂▃▄▅▆▇█"
_FULL: Final = 1.25
"""Times the budget at which a bar is as high as it gets: one at the budget leaves room to see that others exceed it."""


@dataclass(frozen=True, slots=True)
class Look:
    """The answers of one moment."""

    status: Answer
    apps: tuple[Answer, ...]
    plan: Answer
    plan_looks: int = 0
    """Looks since the plan was asked for."""


@dataclass(frozen=True, slots=True)
class History:
    """Measured latencies over budgets, by app, oldest first; None where nothing was measured."""

    ratios: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)

    def after(self, look: Look) -> History:
        """With another look; apps that have left are forgotten."""
        return History(
            {str(app.get("app")): (*self.ratios.get(str(app.get("app")), ()), _ratio(app))[-KEPT:] for app in look.apps}
        )


def sparkline(ratios: tuple[float | None, ...]) -> str:
    """A bar for each ratio, and a space where there is none."""
    return "".join(" " if ratio is None else _BARS[_height(ratio)] for ratio in ratios)


def _ratio(app: Answer) -> float | None:
    measured_ms, budget_ms = app.get("measured_p95_ms"), app.get("budget_ms")
    if not isinstance(measured_ms, int | float) or not isinstance(budget_ms, int | float) or budget_ms <= 0:
        return None
    return measured_ms / budget_ms


def _height(ratio: float) -> int:
    return min(len(_BARS) - 1, max(0, int(len(_BARS) * ratio / _FULL)))
