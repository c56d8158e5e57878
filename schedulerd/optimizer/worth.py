"""What a route is worth under an objective: a number to be minimised, summed over the apps, in shares of an app.

One unit is what an app of priority 1 loses when it loses everything: all of its accuracy, its whole budget, or all the
power that the original networks draw. So the same swap cost and the same gap mean as much under every objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from schedulerd.optimizer.accuracy import most_accurate_picks
from schedulerd.optimizer.cost import RouteCost, Swapping, policies_of, route_cost, weight_of
from schedulerd.optimizer.objectives import MAX_FAIRNESS, MIN_ENERGY, MIN_LATENCY
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.routes import Routes
from schedulerd.optimizer.tables import Floats

TIE_BREAK: Final = 1e-5
"""What another objective's whole worth counts where this one leaves a choice: below what is measured of either."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What one app's routes cost: a sum over what they take, each times its factor."""

    loss: float
    """Per unit of accuracy."""
    expected: float
    """Per ms."""
    energy: float
    """Per mJ."""

    def of(self, routes: Routes) -> Floats:
        """[routes]: with what leaving the running route costs."""
        taken = self.loss * routes.loss + self.expected * routes.expected_ms + self.energy * routes.energy_mj
        return np.asarray(taken + routes.swap)

    def of_cost(self, cost: RouteCost) -> float:
        """Of one route."""
        taken = self.loss * cost.accuracy_drop + self.expected * cost.expected_ms + self.energy * cost.energy_mj
        return taken + cost.swap_loss


def worths(problem: Problem) -> tuple[Worth, ...]:
    """For each app, by the problem's objective.

    The worst loss, which `max-fairness` looks at first, is no sum; its sum is that of `max-accuracy`.
    """
    if problem.objective == MIN_LATENCY:
        return tuple(map(_of_latency, problem.apps))
    if problem.objective == MIN_ENERGY:
        return _of_energy(problem, [_original(app) for app in problem.apps])
    slowest_ms = sum(max(o.latency_ms for o in block) for app in problem.apps for block in app.blocks) or 1.0
    return tuple(Worth(weight_of(app), TIE_BREAK / slowest_ms, 0.0) for app in problem.apps)


def is_fair(problem: Problem) -> bool:
    """Whether the app that loses most comes first."""
    return problem.objective == MAX_FAIRNESS


def _original(app: AppOptions) -> RouteCost:
    """Of the most accurate variants, to the end."""
    return route_cost(app, most_accurate_picks(app), policies_of(app)[0], Swapping(0.0, frozenset()))


def _of_latency(app: AppOptions) -> Worth:
    return Worth(TIE_BREAK * weight_of(app), app.app.priority / app.app.budget_ms, 0.0)


def _of_energy(problem: Problem, originals: Sequence[RouteCost]) -> tuple[Worth, ...]:
    """Power is one sum for the whole board: priorities do not change what it draws."""
    rates = [app.app.rate_hz for app in problem.apps]
    full = sum(rate * cost.energy_mj for rate, cost in zip(rates, originals, strict=True)) or 1.0
    scale = sum(app.app.priority for app in problem.apps) / full
    return tuple(
        Worth(TIE_BREAK * weight_of(a), 0.0, scale * rate) for a, rate in zip(problem.apps, rates, strict=True)
    )
