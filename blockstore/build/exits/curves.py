"""Curves: what a threshold at one exit does, from what the exit has seen. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from blockstore.build.exits.seen import Floats, Seen
from blockstore.exits import ANY_UPSTREAM, Curve, CurvePoint, CurveSet

POINTS: Final = 25
"""Of a curve, where no two frames are as sure: between two of them lie 4% of the frames, a hundred of 2500."""
MATTERS: Final = 0.02
"""Difference of precision, or of the share that leaves, from which on a kind of upstream has a curve of its own."""
DECIMALS: Final = 4


def curve(confidence: Floats, worth: Floats, full: Floats, upstream: str = ANY_UPSTREAM) -> Curve:
    """The curve of an exit with `confidence` and `worth` `[n]`, where the network's end is worth `full` `[n]`."""
    sure = np.where(np.isnan(confidence), -1.0, confidence)
    quantiles = np.quantile(np.maximum(sure, 0.0), np.linspace(0.0, 1.0, POINTS))
    steps = 10**DECIMALS
    thresholds = {0.0, *(np.floor(quantiles * steps) / steps).tolist(), 1.0}
    return Curve(upstream, tuple(_point(t, sure, worth, full) for t in sorted(thresholds | _behind(thresholds, sure))))


def curves(general: Seen, by_upstream: Mapping[str, Seen], exit_: int) -> CurveSet:
    """The curves of exit number `exit_`: the general one, and those of the kinds of upstream that differ from it."""
    first = curve(general.confidence[exit_], general.worth[exit_], general.worth[-1])
    others = [
        curve(seen.confidence[exit_], seen.worth[exit_], seen.worth[-1], upstream)
        for upstream, seen in sorted(by_upstream.items())
    ]
    return CurveSet((first, *(other for other in others if differs(first, other))))


def differs(one: Curve, other: Curve) -> bool:
    """Whether two curves say different things of some threshold by which frames leave."""
    for threshold in np.linspace(0.0, 0.95, 20):
        here, there = one.at(float(threshold)), other.at(float(threshold))
        if abs(here.share - there.share) >= MATTERS:
            return True
        # The precision of a handful of frames is chance.
        if min(here.share, there.share) > 0.05 and abs(here.precision - there.precision) >= MATTERS:
            return True
    return False


def _behind(thresholds: Collection[float], sure: Floats) -> set[float]:
    """Thresholds just above those where many frames have one confidence: between two points a curve is a line."""
    above = {t: round(t + 10**-DECIMALS, DECIMALS) for t in thresholds if t < 1}
    return {up for t, up in above.items() if (_leaves(t, sure) & ~_leaves(up, sure)).mean() > 1 / (2 * POINTS)}


def _leaves(threshold: float, sure: Floats) -> npt.NDArray[np.bool_]:
    # With threshold 0 everything leaves, also what is no number.
    return sure >= threshold if threshold > 0 else np.ones(len(sure), dtype=bool)


def _point(threshold: float, sure: Floats, worth: Floats, full: Floats) -> CurvePoint:
    leaves = _leaves(threshold, sure)
    return CurvePoint(
        threshold=threshold,
        share=round(float(leaves.mean()), DECIMALS),
        precision=round(float(worth[leaves].mean()), DECIMALS) if leaves.any() else 1.0,
        rest_accuracy=round(float(full[~leaves].mean()), DECIMALS) if not leaves.all() else 1.0,
    )
