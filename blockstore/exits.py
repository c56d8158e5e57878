"""Exits as frozen values: the heads of a model, the curves of their confidence, and the policies that use them.

An *exit* is a head on the output of a block: it gives what the network gives, and a confidence from 0 to 1. A frame
leaves at the first exit of the *policy* whose confidence reaches that exit's threshold (BranchyNet, ICPR'16, algorithm
1, where the entropy has to fall below it: a low entropy is a high confidence here). The last step of a policy has
threshold 0: every frame that comes so far leaves there, be it the network's own end (`final`) or an exit that caps the
depth.

Nothing here needs a library, so that the daemon and the builder use the same words.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from blockstore.errors import BadManifest, BadPolicy

FINAL: Final = "final"
"""The network's own end, as a step of a policy."""
MEASURES: Final = ("max_probability", "entropy", "custom")
"""Of confidence: the largest probability, 1 - entropy / log(classes), or the user's own function."""
ANY_UPSTREAM: Final = ""
"""Curve behind originals, which stands for every kind of upstream that has no curve of its own."""
LEAST_SHARE: Final = 0.02
"""Of the frames; fewer say nothing of a precision."""
NEVER: Final = math.inf
"""Threshold that no confidence reaches."""
MAX_EXITS: Final = 16
"""Of one model."""
MAX_POLICIES: Final = 32


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a threshold does at one exit, if all frames came there; every figure is 0 to 1."""

    threshold: float
    share: float
    """Of the frames that would leave."""
    precision: float
    """Accuracy of these frames here; 1 where none leaves."""
    rest_accuracy: float
    """Accuracy of the full route on the others; 1 where all leave."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one exit behind one kind of upstream, by rising threshold; the first has threshold 0."""

    upstream: str
    """Name of the variant that the blocks before it have; `ANY_UPSTREAM` for originals and for what is like them."""
    points: tuple[CurvePoint, ...]

    def at(self, threshold: float) -> CurvePoint:
        """What `threshold` does, from the points beside it."""
        place = bisect_right(self.points, threshold, key=lambda p: p.threshold)
        if place == len(self.points):
            return self.points[-1]
        low, high = self.points[max(0, place - 1)], self.points[place]
        span = high.threshold - low.threshold
        part = (threshold - low.threshold) / span if span > 0 else 0.0
        return CurvePoint(
            threshold,
            low.share + part * (high.share - low.share),
            low.precision + part * (high.precision - low.precision),
            low.rest_accuracy + part * (high.rest_accuracy - low.rest_accuracy),
        )

    def accuracy_at(self, confidence: float) -> float:
        """Expected accuracy of a frame that has just this confidence: of those between the points beside it.

        A confidence that is no number says nothing: the accuracy of all frames.
        """
        if not confidence >= 0:
            return self.points[0].precision
        place = bisect_right(self.points, confidence, key=lambda p: p.threshold)
        if place == len(self.points) and self.points[-1].share > 0:
            return self.points[-1].precision
        place = min(place, len(self.points) - 1)
        low, high = self.points[max(0, place - 1)], self.points[place]
        frames = low.share - high.share
        if frames <= 0:
            return low.precision
        return min(1.0, max(0.0, (low.share * low.precision - high.share * high.precision) / frames))

    def threshold_of_precision(self, precision: float) -> float | None:
        """The lowest threshold from which on `precision` is kept; None where no point keeps it.

        Of a handful of frames the precision is chance: points that fewer than `LEAST_SHARE` reach say nothing.
        """
        kept: float | None = None
        for point in reversed(self.points):
            if point.share >= LEAST_SHARE:
                if point.precision < precision:
                    break
                kept = point.threshold
        return kept


@dataclass(frozen=True, slots=True)
class ExitPolicy:
    """The enabled exits in order of depth, each with the confidence from which a frame leaves there."""

    name: str
    steps: tuple[tuple[str, float], ...]
    """`(exit, threshold)`; the last one has threshold 0 and is `FINAL` or an exit that caps the depth."""

    @property
    def last(self) -> str:
        """Where every frame leaves that has not left before."""
        return self.steps[-1][0]

    def __str__(self) -> str:
        return " ".join(f"{name}>={threshold:g}" if threshold else name for name, threshold in self.steps)


NO_EXITS: Final = ExitPolicy("none", ((FINAL, 0.0),))
"""Every frame runs to the end."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a policy does to the frames on which thresholds were searched."""

    shares: tuple[float, ...]
    """For each step, the share of all frames that leave there; 1 in all."""
    accuracy_drop: float
    """What the accuracy of the model loses by the policy, as an absolute fraction; negative where it gains."""


@dataclass(frozen=True, slots=True)
class OfferedPolicy:
    """A policy with what is known of it: what the optimizer chooses from."""

    policy: ExitPolicy
    forecast: Forecast


def check_policy(policy: ExitPolicy, depths: Mapping[str, int]) -> None:
    """Raise `BadPolicy` unless `policy` makes sense for a model whose exits `depths` gives, name -> block.

    The message gives the value, the limit and the remedy.
    """
    if not policy.steps:
        raise BadPolicy(f"policy {policy.name!r} has no exit at all: end it with {FINAL!r}")
    known = {**depths, FINAL: max(depths.values(), default=0) + 1}
    before: str | None = None
    for position, (name, threshold) in enumerate(policy.steps):
        if name not in known:
            raise BadPolicy(f"policy {policy.name!r} names exit {name!r}; there are {', '.join(known)}")
        if before is not None and known[name] <= known[before]:
            raise BadPolicy(f"policy {policy.name!r} has {name!r} after {before!r}: name exits by rising depth")
        if not (math.isfinite(threshold) and 0.0 <= threshold <= 1.0):
            raise BadPolicy(f"threshold of {name!r} in policy {policy.name!r} is {threshold}: it must be 0 to 1")
        is_last = position == len(policy.steps) - 1
        if threshold == 0.0 and not is_last:
            raise BadPolicy(
                f"policy {policy.name!r}: every frame leaves at {name!r}, whose threshold is 0, so nothing reaches"
                f" {policy.steps[position + 1][0]!r}: leave out what comes after it"
            )
        if is_last and threshold > 0.0:
            raise BadPolicy(
                f"policy {policy.name!r} has no final exit: a frame whose confidence at {name!r} is under {threshold:g}"
                f" would leave nowhere; end it with {FINAL!r}, or give {name!r} the threshold 0"
            )
        before = name


def policy_of(thresholds: Mapping[str, float], depths: Mapping[str, int], name: str = "own") -> ExitPolicy:
    """The policy of `thresholds` by exit, checked; `FINAL` is among them, or one of them is 0."""
    known = {**depths, FINAL: max(depths.values(), default=0) + 1}
    unknown = [exit_ for exit_ in thresholds if exit_ not in known]
    if unknown:
        raise BadPolicy(f"there is no exit {unknown[0]!r}; there are {', '.join(known)}")
    policy = ExitPolicy(name, tuple(sorted(thresholds.items(), key=lambda step: known[step[0]])))
    check_policy(policy, depths)
    return policy


@dataclass(frozen=True, slots=True)
class CurveSet:
    """The curves of one exit, one for each kind of upstream where it matters."""

    curves: tuple[Curve, ...] = field(default_factory=tuple)

    def of(self, upstream: Sequence[str]) -> Curve:
        """The curve for a route whose blocks up to the exit have these variants.

        Where several of them have a curve, the one of least precision at half confidence: the cautious one.
        """
        own = [curve for curve in self.curves if curve.upstream in upstream and curve.upstream != ANY_UPSTREAM]
        if own:
            return min(own, key=lambda curve: curve.at(0.5).precision)
        return next(curve for curve in self.curves if curve.upstream == ANY_UPSTREAM)

    def own(self) -> tuple[str, ...]:
        """Kinds of upstream that have a curve of their own."""
        return tuple(curve.upstream for curve in self.curves if curve.upstream != ANY_UPSTREAM)

    def threshold(self, threshold: float, upstream: Sequence[str]) -> float:
        """The threshold that has, behind `upstream`, the precision that `threshold` has in general.

        Never lower than `threshold`; `NEVER` where nothing has that precision; 0 stays 0.
        """
        own = self.of(upstream)
        if threshold == 0.0 or own.upstream == ANY_UPSTREAM:
            return threshold
        wanted = self.of(()).at(threshold).precision
        found = own.threshold_of_precision(wanted)
        return NEVER if found is None else max(threshold, found)


def curves_from(documents: Sequence[Mapping[str, Any]]) -> CurveSet:
    """Curves of a manifest, checked; raises `BadManifest`."""
    curves = tuple(
        Curve(
            str(d["upstream"]),
            tuple(
                CurvePoint(*(float(p[k]) for k in ("threshold", "share", "precision", "rest_accuracy")))
                for p in d["points"]
            ),
        )
        for d in documents
    )
    if [c.upstream for c in curves].count(ANY_UPSTREAM) != 1:
        raise BadManifest("an exit needs just one curve for any upstream")
    for curve in curves:
        values = [v for p in curve.points for v in (p.threshold, p.share, p.precision, p.rest_accuracy)]
        thresholds = [p.threshold for p in curve.points]
        if not values or not all(0.0 <= v <= 1.0 for v in values):
            raise BadManifest(f"the curve for upstream {curve.upstream!r} is empty or has a number outside 0 to 1")
        if thresholds[0] != 0.0 or thresholds != sorted(set(thresholds)):
            raise BadManifest(f"the curve for upstream {curve.upstream!r} has thresholds {thresholds}: from 0, rising")
        shares = [p.share for p in curve.points]
        if shares != sorted(shares, reverse=True):
            raise BadManifest(f"the curve for upstream {curve.upstream!r} has shares {shares}: they fall")
    return CurveSet(curves)


def offered_from(documents: Sequence[Mapping[str, Any]], depths: Mapping[str, int]) -> tuple[OfferedPolicy, ...]:
    """Policies of a manifest, checked; raises `BadManifest`."""
    offered = tuple(
        OfferedPolicy(
            ExitPolicy(str(d["policy"]["name"]), tuple((str(n), float(t)) for n, t in d["policy"]["steps"])),
            Forecast(tuple(float(s) for s in d["forecast"]["shares"]), float(d["forecast"]["accuracy_drop"])),
        )
        for d in documents
    )
    if len(offered) > MAX_POLICIES or len({o.policy.name for o in offered}) < len(offered):
        raise BadManifest(f"{len(offered)} policies; there are at most {MAX_POLICIES}, each with a name of its own")
    for one in offered:
        try:
            check_policy(one.policy, depths)
        except BadPolicy as error:
            raise BadManifest(str(error)) from error
        shares = one.forecast.shares
        if (
            len(shares) != len(one.policy.steps)
            or not all(0.0 <= s <= 1.0 for s in shares)
            or abs(sum(shares) - 1) > 1e-6
        ):
            raise BadManifest(
                f"policy {one.policy.name!r} forecasts shares {shares} for {one.policy}: one a step, 1 in all"
            )
        if not math.isfinite(one.forecast.accuracy_drop):
            raise BadManifest(f"policy {one.policy.name!r} forecasts an accuracy drop of {one.forecast.accuracy_drop}")
    return offered
