"""Accuracy: from few measured routes to what is known of any, in three rounds of measuring.

1. Each variant alone among originals.
2. Half of the combinations to fit, spread over what the single substitutions predict.
3. The other half and the ones to check, spread over what a first fit predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from blockstore.accuracy_model import LOGISTIC, AccuracyModel, Route
from blockstore.build.fit import DECIMALS, Curve, Drops, fit_curve, fit_drops, fit_model, mean_error
from blockstore.build.sampling import shared_out, single_routes, spread_routes
from blockstore.build.tasks.base import Score


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What was measured of a model and its variants."""

    model: AccuracyModel
    drops: Drops
    """For each block, the accuracy drop of each variant, the original first (0): what the optimizer adds up."""
    additive_error: float | None
    """Mean absolute error of `original - sum of drops` on the routes on which the error of `model` was measured; None
    where there is none."""


def assess(
    measure: Callable[[Sequence[Route]], Mapping[Route, Score]],
    widths: Sequence[int],
    fit_routes: int,
    check_routes: int,
    seed: int,
) -> Accuracy:
    """Accuracy of a model whose block `i` has `widths[i]` variants; `measure` runs routes on the held-out images.

    `fit_routes` combinations are fitted besides the single substitutions, `check_routes` others are only compared;
    where there are not as many, those that there are are shared out.
    """
    fit_routes, check_routes = shared_out(widths, fit_routes, check_routes)
    scores = dict(measure(single_routes(widths)))
    measured = _accuracies(scores)
    ranked = _ranked(measured, widths)
    early = fit_routes // 2
    scores |= measure(spread_routes(ranked, _independent(measured, widths), early, seed, measured))
    measured = _accuracies(scores)
    predict = fit_curve(Curve(LOGISTIC), measured, widths).predict
    late = spread_routes(ranked, predict, fit_routes - early + check_routes, seed + 1, measured)
    scores |= measure(late)
    unseen = {route: scores[route].accuracy for route in late[fit_routes - early :]}
    measured = {route: accuracy for route, accuracy in _accuracies(scores).items() if route not in unseen}
    model = _with_figures(fit_model(measured, unseen, widths, seed), scores)
    drops = fit_drops(measured, model.original, widths)

    def added(route: Route) -> float:
        return model.original - sum(row[variant] for row, variant in zip(drops, route, strict=True))

    return Accuracy(model, drops, mean_error(added, unseen) if unseen else None)


def _accuracies(scores: Mapping[Route, Score]) -> dict[Route, float]:
    return {route: score.accuracy for route, score in scores.items()}


def _with_figures(model: AccuracyModel, scores: Mapping[Route, Score]) -> AccuracyModel:
    """`model` whose evidence has the task's further figures too."""

    def rounded(route: Route) -> dict[str, float]:
        return {name: round(value, DECIMALS) for name, value in scores[route].figures.items()}

    return replace(model, evidence=tuple(replace(e, figures=rounded(e.route)) for e in model.evidence))


def _ranked(singles: Mapping[Route, float], widths: Sequence[int]) -> list[list[int]]:
    """The variants of each block by falling accuracy when they stand alone, the original first."""
    original = (0,) * len(widths)

    def alone(block: int, variant: int) -> float:
        return singles[(*original[:block], variant, *original[block + 1 :])]

    return [[0, *sorted(range(1, n), key=lambda v: (-alone(b, v), v))] for b, n in enumerate(widths)]


def _independent(singles: Mapping[Route, float], widths: Sequence[int]) -> Callable[[Route], float]:
    """A first guess: each variant leaves the share of accuracy that it leaves when it stands alone."""
    original = (0,) * len(widths)
    full = max(singles[original], 1e-9)

    def predict(route: Route) -> float:
        left = full
        for block, variant in enumerate(route):
            left *= singles[(*original[:block], variant, *original[block + 1 :])] / full
        return left

    return predict
