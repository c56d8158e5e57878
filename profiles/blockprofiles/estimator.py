"""Predictions with their uncertainty: the regressions, corrected by how far off they are for measured blocks alike.

A regression that is 20% too high for a block is about as much too high for its pruned variants, and for its twins in
the same network. So the logarithm of measured over predicted is interpolated between measured blocks by their likeness
(regression-kriging: Hengl, Heuvelink and Rossiter, "About regression-kriging", Computers & Geosciences 33, 2007). Far
from all of them the regression stands alone. With 134 of the 571 blobs of 12 networks measured (`design`) the others
were 5.2% off at the median, by the regressions alone 6.3%; with 233 measured 3.5% and 5.2%.

How sure a prediction is grows with its distance from the measured blocks. By how much is seen by leaving measured
blocks out: those of a model whose others were measured, and whole models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from blockprofiles.operators import Operator
from blockprofiles.regression import Array, Regression, Sample, Variables, fit, latency_variables

REACHES: Final = (0.1, 0.2, 0.4, 0.8)
NOISES: Final = (0.01, 0.1, 0.3)
"""`Likeness`es that are tried; the one by which the samples tell most of each other is taken."""
FOLDS: Final = 4
_FEWEST: Final = 8
"""With fewer samples nothing is left out, and nothing known of errors."""
_UNKNOWN: Final = 1.0
"""Taken for `Estimator.near` and `far` then: an error of a factor of e, where a block has nothing of the measured."""
_AT_ONCE: Final = 0.1
"""Distance at which a block that was measured itself is taken to be: its median is not exact either."""
_TINY: Final = 1e-12
"""In place of a prediction of nothing, whose logarithm is asked."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of one block."""

    value: float
    """In the unit of the samples."""
    uncertainty: float
    """Half-width of the 95% interval, relative to `value`."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How the errors of blocks go together."""

    reach: float
    """Distance at which it has fallen to 1/e."""
    noise: float
    """Variance of chance, where that of what blocks share is 1."""
    precision: Array
    """`[samples, samples]`: the inverse of the samples' covariance."""

    @staticmethod
    def of(apart: Array, reach: float, noise: float) -> Likeness:
        """From distances `[samples, samples]`. What is negative in the spectrum is no covariance's, and left out."""
        values, vectors = np.linalg.eigh(np.exp(-apart / reach))
        return Likeness(reach, noise, (vectors / (values.clip(0) + noise)) @ vectors.T)

    def surprise(self, errors: Array) -> float:
        """Mean square of how far each error is from what all others tell of it.

        Without solving again for each: Dubrule, "Cross validation of kriging in a unique neighborhood", Mathematical
        Geology 15 (1983).
        """
        return float((((self.precision @ errors) / np.diagonal(self.precision)) ** 2).mean())


@dataclass(frozen=True)
class Corrected:
    """The regressions with what is known of their errors."""

    regression: Regression
    types: tuple[str, ...]
    """Of the operators that measured blocks have."""
    rows: Array
    """`[samples, types + 1]`: what the regression gives each type of operator in each measured block."""
    likeness: Likeness
    pulls: Array
    """`[samples]`: what each sample adds to the logarithm of the correction, by its likeness."""

    def value(self, operators: Sequence[Operator]) -> tuple[float, Array]:
        """Prediction of a block with these operators, and its distance from each sample."""
        parts = self.regression.parts(operators)
        apart = distances(rows_of([parts], self.types), self.rows)[0]
        correction = float(np.exp(np.exp(-apart / self.likeness.reach) @ self.pulls))
        return sum(parts.values()) * correction, apart


@dataclass(frozen=True)
class Estimator:
    """Predicts blocks from the measured ones."""

    corrected: Corrected
    groups: tuple[str, ...]
    """Of the samples."""
    near: float
    """95% of logarithms of measured over predicted are within so much for each unit of distance, in a group that has
    samples as near."""
    far: float
    """The same where the nearest sample is of another group."""

    def predict(self, operators: Sequence[Operator], group: str = "") -> Prediction:
        """What a block of this group with these operators costs."""
        value, apart = self.corrected.value(operators)
        nearest = int(apart.argmin())
        pace = self.near if self.groups[nearest] == group else self.far
        return Prediction(value, float(np.expm1(pace * (_AT_ONCE + apart[nearest]))))


def estimator(samples: Sequence[Sample], variables: Variables = latency_variables) -> Estimator:
    """From measured blocks; ValueError without any."""
    whole = corrected(samples, variables)
    groups = tuple(sample.group for sample in samples)
    names = sorted(set(groups))
    near = _pace(samples, whole, [index % FOLDS for index in range(len(samples))])
    far = _pace(samples, whole, [names.index(g) % FOLDS for g in groups]) if len(names) > 1 else near
    return Estimator(whole, groups, near, max(near, far))


def corrected(
    samples: Sequence[Sample],
    variables: Variables = latency_variables,
    reaches: Sequence[float] = REACHES,
    noises: Sequence[float] = NOISES,
) -> Corrected:
    """From measured blocks; ValueError without any. For what is predicted without its uncertainty."""
    regression = fit(samples, variables)
    parts = [regression.parts(sample.operators) for sample in samples]
    types = tuple(sorted({name for each in parts for name in each}))
    rows = rows_of(parts, types)
    apart = distances(rows, rows)
    errors = np.array([_error(sum(p.values()), s.measured) for s, p in zip(samples, parts, strict=True)])
    tried = (Likeness.of(apart, reach, noise) for reach in reaches for noise in noises)
    likeness = min(tried, key=lambda each: each.surprise(errors))
    return Corrected(regression, types, rows, likeness, likeness.precision @ errors)


def _pace(samples: Sequence[Sample], whole: Corrected, folds: Sequence[int]) -> float:
    """By how much errors grow with distance: what holds for 95% of the samples, each predicted without its fold."""
    if len(samples) < _FEWEST:
        return _UNKNOWN
    paces = []
    for fold in sorted(set(folds)):
        rest = [s for s, f in zip(samples, folds, strict=True) if f != fold]
        likeness = whole.likeness
        part = corrected(rest, whole.regression.variables, [likeness.reach], [likeness.noise])
        for sample in (s for s, f in zip(samples, folds, strict=True) if f == fold):
            value, apart = part.value(sample.operators)
            paces.append(abs(_error(value, sample.measured)) / (_AT_ONCE + float(apart.min())))
    return float(np.quantile(paces, 0.95))


def _error(predicted: float, measured: float) -> float:
    return float(np.log(measured / max(predicted, _TINY)))


def rows_of(parts: Sequence[Mapping[str, float]], types: Sequence[str]) -> Array:
    """`[blocks, types + 1]`; the last column is what all other types cost together."""
    known = [[each.get(name, 0.0) for name in types] for each in parts]
    return np.array([[*row, sum(each.values()) - sum(row)] for row, each in zip(known, parts, strict=True)])


def distances(a: Array, b: Array) -> Array:
    """How unlike blocks are: the difference of their parts, relative to the larger one; 0 to 2."""
    larger = np.maximum(a.sum(axis=1)[:, None], b.sum(axis=1)[None, :])
    # Type by type: all at once would take 100 MB for the blobs of twelve networks.
    differences = sum(np.abs(np.subtract.outer(a[:, k], b[:, k])) for k in range(a.shape[1]))
    return np.asarray(differences / np.maximum(larger, _TINY))
