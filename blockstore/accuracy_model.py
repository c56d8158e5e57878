"""Predicted accuracy of any route of a model, from the damages of its variants.

Accuracy drops do not add up: small damages hide behind each other, large ones meet at the accuracy of guessing. So the
damages `e` of a route's variants are joined to one number and a falling curve makes an accuracy of it:

    s = sum_b e_b + 2 sum_(b<c) r_bc sqrt(e_b e_c)          accuracy = floor + (original - floor) g(s)

A damage is a squared length: errors that blocks add to a signal add as vectors do, and `r_bc` is the cosine between
those of blocks b and c (0: the squares just add). `g` falls from 1 at s = 0 to 0. The builder fits all of it to
measured routes (`blockstore.build.fit`); here it is only read, without any library, so that the daemon can predict too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from blockstore.errors import BadManifest

Route = tuple[int, ...]
"""Position of the variant of each block; 0 is the original."""

LINEAR: Final = "linear"
"""accuracy = original - s: the sum of the drops."""
WEIBULL: Final = "weibull"
"""g(s) = exp(-s ** shape)"""
LOGISTIC: Final = "logistic"
"""g(s) = (1 + exp(-shape)) / (1 + exp(s - shape))"""
KINDS: Final = (LINEAR, WEIBULL, LOGISTIC)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A route with its measured accuracy."""

    route: Route
    accuracy: float
    checked: bool
    """Whether the fit has not seen it: the error of the model is of these routes."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The task's further figures by name, such as the share of images on which route and original agree."""


@dataclass(frozen=True, slots=True)
class AccuracyModel:
    """Accuracy of any combination of variants; every accuracy is 0 to 1."""

    kind: str
    """How damages become accuracy, one of `KINDS`."""
    original: float
    """Measured accuracy of the all-original route."""
    floor: float
    """What accuracy falls to when everything is ruined."""
    shape: float
    """Exponent (`weibull`) or place of the steepest fall (`logistic`); `linear` has none."""
    damages: tuple[tuple[float, ...], ...]
    """For each block, the damage of each variant, not negative; 0 for the original."""
    cosines: tuple[tuple[float, ...], ...]
    """`cosines[c][b]` for blocks b < c, -1 to 1; no rows where the damages only add."""
    error: float | None
    """Mean absolute error on the checked routes; None where there is none, as of a model with one block."""
    evidence: tuple[Evidence, ...]

    def predict(self, route: Sequence[int]) -> float:
        """Accuracy of `route`, which has one position for each block."""
        if len(route) != len(self.damages):
            raise ValueError(f"the route {tuple(route)} has {len(route)} positions for {len(self.damages)} blocks")
        return self.left_by([row[variant] for row, variant in zip(self.damages, route, strict=True)])

    def left_by(self, damages: Sequence[float]) -> float:
        """Accuracy of a route whose blocks do these damages, one for each block."""
        damage = self._joined(damages)
        if self.kind == LINEAR:
            return max(self.floor, self.original - damage)
        return self.floor + (self.original - self.floor) * _remaining(self.kind, damage, self.shape)

    def keeping(self, kept: Sequence[Sequence[int]]) -> AccuracyModel:
        """The same model when block `b` keeps only the variants `kept[b]`, in that order.

        Evidence of routes through variants that went goes with them; `error` stays what was measured.
        """
        places = [{old: new for new, old in enumerate(row)} for row in kept]
        evidence = tuple(
            replace(e, route=tuple(p[v] for p, v in zip(places, e.route, strict=True)))
            for e in self.evidence
            if all(v in p for p, v in zip(places, e.route, strict=True))
        )
        damages = tuple(tuple(row[old] for old in keep) for row, keep in zip(self.damages, kept, strict=True))
        return replace(self, damages=damages, evidence=evidence)

    def to_document(self) -> dict[str, Any]:
        """As values that JSON has."""
        document = asdict(self)
        # Evidence from before there were figures has no such key, and manifests keep their bytes.
        for measured in document["evidence"]:
            if not measured["figures"]:
                del measured["figures"]
        return document

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> AccuracyModel:
        """Back from `to_document`; raises `BadManifest` with the reason."""
        try:
            model = AccuracyModel(
                kind=str(document["kind"]),
                original=float(document["original"]),
                floor=float(document["floor"]),
                shape=float(document["shape"]),
                damages=_rows(document["damages"]),
                cosines=_rows(document["cosines"]),
                error=None if document["error"] is None else float(document["error"]),
                evidence=tuple(map(_evidence, document["evidence"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadManifest(f"not an accuracy model: {type(error).__name__}: {error}") from error
        _check(model)
        return model

    def _joined(self, damages: Sequence[float]) -> float:
        """The damage of a route; cosines that would make it negative make it 0."""
        joined = sum(damages)
        if self.cosines:
            lengths = [math.sqrt(e) for e in damages]
            for one, row in zip(lengths, self.cosines, strict=True):
                # Rows are shorter than `lengths`: each has the blocks before it.
                joined += 2 * one * sum(cosine * other for cosine, other in zip(row, lengths, strict=False))
        return max(0.0, joined)


def _remaining(kind: str, damage: float, shape: float) -> float:
    """`g(s)`: the share of accuracy above the floor that remains."""
    if kind == WEIBULL:
        return math.exp(-(damage**shape))
    # Divided by exp(s - shape): no overflow however large the damage.
    fall = math.exp(shape - damage)
    return (math.exp(-damage) + fall) / (1 + fall)


def _evidence(document: Mapping[str, Any]) -> Evidence:
    return Evidence(
        route=tuple(int(v) for v in document["route"]),
        accuracy=float(document["accuracy"]),
        checked=bool(document["checked"]),
        figures={str(name): float(value) for name, value in document.get("figures", {}).items()},
    )


def _rows(rows: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in rows)


def _check(model: AccuracyModel) -> None:
    """What a prediction relies on; a document may come from elsewhere."""
    numbers = [model.original, model.floor, model.shape, model.error or 0.0, *(e for row in model.damages for e in row)]
    if model.kind not in KINDS:
        raise BadManifest(f"accuracy model of kind {model.kind!r}, this version reads {', '.join(KINDS)}")
    if not all(math.isfinite(n) and n >= 0 for n in numbers):
        raise BadManifest("accuracy model with a number that is negative or not finite")
    if not model.floor <= model.original <= 1:
        raise BadManifest(
            f"accuracy model falls from {model.original} to {model.floor}, it must be 1 >= original >= floor"
        )
    if not model.damages or not all(row and row[0] == 0 for row in model.damages):
        raise BadManifest("accuracy model with a block whose original has a damage, or none")
    expected = tuple(range(len(model.damages))) if model.cosines else ()
    if tuple(map(len, model.cosines)) != expected or not all(abs(c) <= 1 for row in model.cosines for c in row):
        raise BadManifest("accuracy model whose cosines are not a triangle of numbers from -1 to 1")
    for e in model.evidence:
        fits = len(e.route) == len(model.damages) and all(
            0 <= v < len(row) for v, row in zip(e.route, model.damages, strict=True)
        )
        if not fits or not 0 <= e.accuracy <= 1:
            raise BadManifest(f"accuracy model with the impossible evidence {e.route}: {e.accuracy}")
        if not all(map(math.isfinite, e.figures.values())):
            raise BadManifest(f"accuracy model with evidence {e.route} whose figures are not all finite: {e.figures}")
