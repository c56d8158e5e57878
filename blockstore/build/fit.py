"""Fit: from measured routes, the accuracy model and one additive drop for each variant.

The curve of the model is chosen by cross-validation among a straight line, two that saturate, and the same with
cosines between blocks (see `blockstore.accuracy_model` for the formulas). Pure: no route is run here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from blockstore.accuracy_model import LINEAR, LOGISTIC, WEIBULL, AccuracyModel, Evidence, Route

Floats = npt.NDArray[np.float64]
Drops = tuple[tuple[float, ...], ...]
"""For each block, what each variant costs; the original first (0)."""

FOLDS: Final = 5
STIFFNESSES: Final = (None, 0.5, 0.2)
"""How strongly cosines are held at 0: a cosine c counts like an error of `stiffness * c`. None: no cosines."""
SHAPES: Final[Mapping[str, tuple[float, float, float]]] = {WEIBULL: (0.3, 1.5, 6.0), LOGISTIC: (0.0, 2.0, 12.0)}
"""Lowest, first and highest shape of each curve."""
SHRINKAGE: Final = 1e-3
"""Keeps the length of a damage finite where every route through a variant is ruined."""
LONGEST: Final = 6.0
"""Upper limit of a length: a damage of 36 is past any curve's fall."""
DECIMALS: Final = 6


@dataclass(frozen=True, slots=True)
class Curve:
    """One way to make accuracies of damages."""

    kind: str
    stiffness: float | None = None


CURVES: Final = (Curve(LINEAR), *(Curve(k, s) for k in (WEIBULL, LOGISTIC) for s in STIFFNESSES))


def fit_model(
    fitted: Mapping[Route, float], checked: Mapping[Route, float], widths: Sequence[int], seed: int
) -> AccuracyModel:
    """The model of `fitted` routes, which has the all-original one among them, and its error on `checked` ones.

    Where none is to be checked the error is None.
    """
    curve = best_curve(fitted, widths, seed)
    model = fit_curve(curve, fitted, widths)
    parts = [(fitted, False), (checked, True)]
    return replace(
        model,
        error=round(mean_error(model.predict, checked), DECIMALS) if checked else None,
        evidence=tuple(Evidence(r, round(a, DECIMALS), unseen) for part, unseen in parts for r, a in part.items()),
    )


def best_curve(measured: Mapping[Route, float], widths: Sequence[int], seed: int) -> Curve:
    """The curve with the least mean error on combinations that its fit has not seen.

    Single substitutions stay in every fold's fit: they are what the damages hang on, and every build has them all.
    """
    combinations = [route for route in measured if sum(v > 0 for v in route) > 1]
    if len(combinations) < FOLDS:
        return Curve(LINEAR)
    folds = list(KFold(FOLDS, shuffle=True, random_state=seed).split(combinations))

    def error(curve: Curve) -> float:
        total = 0.0
        for _, held_back in folds:
            unseen = {combinations[i]: measured[combinations[i]] for i in held_back}
            model = fit_curve(curve, {r: a for r, a in measured.items() if r not in unseen}, widths)
            total += mean_error(model.predict, unseen) * len(unseen)
        return total

    # With more cosines than combinations they would only be noise, and the fit of 27 blocks took half an hour.
    affordable = len(widths) * (len(widths) - 1) // 2 <= len(combinations)
    return min((c for c in CURVES if c.stiffness is None or affordable), key=error)


def fit_curve(curve: Curve, measured: Mapping[Route, float], widths: Sequence[int]) -> AccuracyModel:
    """Least squares fit of one curve, without error and evidence."""
    original = measured[(0,) * len(widths)]
    if curve.kind == LINEAR or sum(widths) == len(widths):
        drops = fit_drops(measured, original, widths)
        return AccuracyModel(LINEAR, original, 0.0, 0.0, drops, (), None, ())
    problem = _Problem(curve, _Design(widths, list(measured)), np.array(list(measured.values())), original)
    return problem.solve()


def fit_drops(measured: Mapping[Route, float], original: float, widths: Sequence[int]) -> Drops:
    """Drops, none negative and 0 for originals, whose sums are nearest to the measured ones (least squares)."""
    design = _Design(widths, list(measured))
    if not design.variants:
        return design.by_block(np.zeros(0))
    target = original - np.array(list(measured.values()))
    return design.by_block(LinearRegression(fit_intercept=False, positive=True).fit(design.present, target).coef_)


def mean_error(predict: Callable[[Route], float], measured: Mapping[Route, float]) -> float:
    """Mean absolute difference between predicted and `measured` accuracy, of at least one route."""
    return float(np.mean([abs(predict(r) - a) for r, a in measured.items()]))


class _Design:
    """Routes as a matrix: which variant, other than the original, stands in which route."""

    def __init__(self, widths: Sequence[int], routes: Iterable[Route]) -> None:
        self.widths = widths
        self.variants = [(b, v) for b, n in enumerate(widths) for v in range(1, n)]
        column = {key: i for i, key in enumerate(self.variants)}
        routes = list(routes)
        self.present = np.zeros((len(routes), len(column)))
        """`[routes, variants]`, 0 or 1."""
        for row, route in enumerate(routes):
            for key in enumerate(route):
                if key in column:
                    self.present[row, column[key]] = 1.0
        self.of_block = np.zeros((len(column), len(widths)))
        """`[variants, blocks]`, 0 or 1."""
        self.of_block[np.arange(len(column)), [b for b, _ in self.variants]] = 1.0

    def by_block(self, values: Floats) -> Drops:
        """One value for each variant, with 0 for the originals, by block."""
        given = {key: round(float(value), DECIMALS) for key, value in zip(self.variants, values, strict=True)}
        return tuple(tuple(given.get((b, v), 0.0) for v in range(n)) for b, n in enumerate(self.widths))


class _Problem:
    """Least squares over the lengths (roots of the damages), the shape, the floor and the cosines, in this order."""

    def __init__(self, curve: Curve, design: _Design, measured: Floats, original: float) -> None:
        self._kind, self._design, self._measured, self._original = curve.kind, design, measured, original
        self._stiffness = curve.stiffness or 0.0
        blocks = len(design.widths) if curve.stiffness is not None else 0
        self._later, self._earlier = np.tril_indices(blocks, -1)
        self._count = len(design.variants)

    def solve(self) -> AccuracyModel:
        lowest, first, highest = SHAPES[self._kind]
        target = self._original - self._measured
        drops = LinearRegression(fit_intercept=False, positive=True).fit(self._design.present, target).coef_
        # No floor above what was measured, and some room where nothing was ruined.
        highest_floor = min(self._original, max(0.0, float(self._measured.min()))) + 1e-6
        zeros = np.zeros(len(self._later))
        start = np.concatenate([np.sqrt(np.maximum(2 * drops, 1e-3)), [first, highest_floor / 2], zeros])
        lower = np.concatenate([np.zeros(self._count), [lowest, 0.0], zeros - 1])
        upper = np.concatenate([np.full(self._count, LONGEST), [highest, highest_floor], zeros + 1])
        found = least_squares(self._residuals, start, jac=self._jacobian, bounds=(lower, upper), max_nfev=200)
        lengths, shape, floor, cosines = self._parts(found.x)
        return AccuracyModel(
            self._kind,
            self._original,
            # Last of all: a rounded floor can be above an original that is not rounded.
            min(round(floor, DECIMALS), self._original),
            round(shape, DECIMALS),
            self._design.by_block(lengths**2),
            self._triangle(cosines),
            None,
            (),
        )

    def _parts(self, x: Floats) -> tuple[Floats, float, float, Floats]:
        return x[: self._count], float(x[self._count]), float(x[self._count + 1]), x[self._count + 2 :]

    def _triangle(self, cosines: Floats) -> Drops:
        if self._stiffness == 0:
            return ()
        rows: list[list[float]] = [[] for _ in self._design.widths]
        for later, cosine in zip(self._later, cosines, strict=True):
            rows[later].append(round(float(cosine), DECIMALS))
        return tuple(map(tuple, rows))

    def _joined(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Damage of each route, lengths `[routes, blocks]`, and the symmetric matrix of cosines with ones inside."""
        lengths, _, _, cosines = self._parts(x)
        matrix = np.eye(len(self._design.widths))
        matrix[self._later, self._earlier] = matrix[self._earlier, self._later] = cosines
        each = (self._design.present * lengths) @ self._design.of_block
        return np.maximum(np.einsum("rb,bc,rc->r", each, matrix, each), 1e-12), each, matrix

    def _residuals(self, x: Floats) -> Floats:
        lengths, shape, floor, cosines = self._parts(x)
        remaining = _curve(self._kind, self._joined(x)[0], shape)[0]
        predicted = floor + (self._original - floor) * remaining
        return np.concatenate([predicted - self._measured, SHRINKAGE * lengths, self._stiffness * cosines])

    def _jacobian(self, x: Floats) -> Floats:
        _, shape, floor, cosines = self._parts(x)
        damage, each, matrix = self._joined(x)
        remaining, by_damage, by_shape = _curve(self._kind, damage, shape)
        height = self._original - floor
        by_length = 2 * (each @ matrix @ self._design.of_block.T) * self._design.present
        by_cosine = 2 * each[:, self._later] * each[:, self._earlier]
        slope = (height * by_damage)[:, None]
        rows = np.hstack([slope * by_length, (height * by_shape)[:, None], (1 - remaining)[:, None], slope * by_cosine])
        held = np.zeros((self._count + len(cosines), rows.shape[1]))
        held[: self._count, : self._count] = SHRINKAGE * np.eye(self._count)
        held[self._count :, self._count + 2 :] = self._stiffness * np.eye(len(cosines))
        return np.vstack([rows, held])


def _curve(kind: str, damage: Floats, shape: float) -> tuple[Floats, Floats, Floats]:
    """`g(s)` of `blockstore.accuracy_model` for many routes, and its derivatives by damage and by shape."""
    if kind == WEIBULL:
        power = damage**shape
        value = np.exp(-power)
        return value, -shape * power / damage * value, -power * np.log(damage) * value
    fallen = 1 / (1 + np.exp(shape - damage))
    value = (np.exp(-damage) + np.exp(shape - damage)) * fallen
    return value, -value * fallen, value * (fallen - 1 / (1 + np.exp(shape)))
