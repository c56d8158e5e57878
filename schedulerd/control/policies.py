"""The exit policies of a model as the optimizer sees them: what they cost, and where frames are expected to leave.

The builder forecasts what the policies that it offers do. For a policy that a client brings itself, the curves of its
exits are put together under one assumption, *nested confidence*: exits agree on which frames are easy, so that those
that an exit is most confident of are those that the exits before it were most confident of. Then as many frames have
left after an exit as the most permissive exit so far would let go on its own, and those that leave at an exit are the
ones that come next in its order of confidence. Exits that disagree let more frames go than that.

What was seen of an app's frames shifts the share that leaves at an exit in log-odds, by as much for every policy: an
exit that lets go of frames more readily than the forecast says does so at every threshold and behind every other exit.
The share stays between 0 and 1 that way, and of the policy that was observed the result is what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from blockprofiles.record import Row
from blockstore.block import Model
from blockstore.exits import FINAL, NO_EXITS, Curve, ExitPolicy, Forecast, OfferedPolicy
from schedulerd.errors import StoreFault
from schedulerd.optimizer.problem import Head, PolicyOption
from schedulerd.plan import App

LEAST_REACH: Final = 1e-6
"""Share of the frames that runs a block which the policy does not cut off, at least: a forecast is made on some
thousand frames, and that none of them came so far does not mean that none ever does."""
_LEAST_RATE: Final = 1e-3
"""Leave rates are taken to be this far from 0 and 1 at least, where log-odds end."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What an app's frames did under one policy."""

    policy: ExitPolicy
    rates: Mapping[str, float] = field(default_factory=dict)
    """By exit: of the frames that were asked there whether they leave, the share that did. Without the exits that too
    few frames have come to."""


def policy_options(
    model: Model, heads: Mapping[str, Row], app: App, observed: Observed | None = None
) -> tuple[PolicyOption, ...]:
    """What `app` may choose from; nothing where `model` has no exits.

    That is running every frame to the end, then what the model offers; only the app's own policy where it has one.

    Args:
        model: with its exits and policies.
        heads: exits that can be used, by name, with what their heads cost. Policies that enable others are left out.
        app: who asks.
        observed: what its frames have done so far.

    Raises:
        StoreFault: the app's own policy enables an exit that cannot be used.
    """
    if not model.exits:
        return ()
    policies = _offered(model) if app.exits is None else [_own(app.exits, heads, model)]
    usable = [p for p in policies if all(name in heads for name, _ in _exits_of(p))]
    shifts = _shifts(model, observed) if observed else {}
    return tuple(_option(model, heads, OfferedPolicy(p, _shifted(p, forecast_of(model, p), shifts))) for p in usable)


def _offered(model: Model) -> list[ExitPolicy]:
    return [NO_EXITS, *(o.policy for o in model.policies if o.policy.steps != NO_EXITS.steps)]


def _own(policy: ExitPolicy, heads: Mapping[str, Row], model: Model) -> ExitPolicy:
    """The policy that a client insists on, by the name that routes without exits go by where it enables none."""
    for name, _ in _exits_of(policy):
        if name not in heads:
            raise StoreFault(
                f"exit {name!r} of {model.name!r} has no usable head; run `schedulerd store verify`, or leave the exit "
                f"out of the policy {policy}"
            )
    return NO_EXITS if policy.steps == NO_EXITS.steps else policy


def _exits_of(policy: ExitPolicy) -> tuple[tuple[str, float], ...]:
    """The steps of a policy at which a head runs."""
    return tuple(step for step in policy.steps if step[0] != FINAL)


def _option(model: Model, heads: Mapping[str, Row], offered: OfferedPolicy) -> PolicyOption:
    policy, shares = offered.policy, offered.forecast.shares
    depths = model.depths()
    depth = len(model.blocks) if policy.last == FINAL else depths[policy.last] + 1
    enabled = {depths[name]: heads[name] for name, _ in _exits_of(policy)}
    rows = [enabled.get(block) for block in range(len(model.blocks))]
    loaded = [heads[e.name] for e in model.exits if e.name in heads and e.block < depth]
    return PolicyOption(
        policy=policy,
        shares=shares,
        reach=_reach(model, policy, shares, depth),
        heads_ms=tuple(row.latency_ms if row else 0.0 for row in rows),
        heads_p95_ms=tuple(row.latency_p95_ms if row else 0.0 for row in rows),
        heads=tuple(Head(row.digest, row.memory_bytes, row.arena_bytes) for row in loaded),
        accuracy_drop=offered.forecast.accuracy_drop,
        heads_mj=_energies_mj(rows),
    )


def _energies_mj(rows: Sequence[Row | None]) -> tuple[float, ...]:
    """For each block, the energy of the enabled head behind it; nothing where that of one could not be measured."""
    energies = [row.energy_mj if row else 0.0 for row in rows]
    return tuple(mj for mj in energies if mj is not None) if None not in energies else ()


def _reach(model: Model, policy: ExitPolicy, shares: Sequence[float], depth: int) -> tuple[float, ...]:
    """For each block, the share of the frames that has not left before it."""
    depths = {**model.depths(), FINAL: len(model.blocks) - 1}
    left_after = {depths[name]: share for (name, _), share in zip(policy.steps, shares, strict=True)}
    left, reach = 0.0, []
    for block in range(len(model.blocks)):
        reach.append(max(LEAST_REACH, 1.0 - left) if block < depth else 0.0)
        left += left_after.get(block, 0.0)
    return tuple(reach)


# Forecasts.


def forecast_of(model: Model, policy: ExitPolicy) -> Forecast:
    """What the model's builder found for the steps of `policy`, else what the curves of its exits come to."""
    if policy.steps == NO_EXITS.steps:
        return Forecast((1.0,), 0.0)
    stored = (o.forecast for o in model.policies if o.policy.steps == policy.steps)
    return next(stored, None) or _estimated(policy, {e.name: e.curves.of(()) for e in model.exits})


def _estimated(policy: ExitPolicy, curves: Mapping[str, Curve]) -> Forecast:
    """By nested confidence; `curves` are those of each exit for any upstream."""
    full = rest = _full_accuracy(curves[policy.steps[0][0]])
    left = kept = 0.0
    shares = []
    for name, threshold in policy.steps:
        if name == FINAL:
            shares.append(1.0 - left)
            kept += (1.0 - left) * rest
            break
        curve = curves[name]
        confident = max(left, curve.at(threshold).share) if threshold else 1.0
        shares.append(confident - left)
        if confident > left:
            kept += _right(curve, confident) - _right(curve, left)
            rest = curve.at(threshold).rest_accuracy
        left = confident
    return Forecast(tuple(shares), full - kept)


def _right(curve: Curve, share: float) -> float:
    """Of all frames, those that are among the `share` most confident at an exit and are right there."""
    share_before, right_before = 0.0, 0.0
    for point in reversed(curve.points):
        right = point.share * point.precision
        if point.share >= share:
            span = point.share - share_before
            part = (share - share_before) / span if span > 0 else 0.0
            return right_before + part * (right - right_before)
        share_before, right_before = point.share, right
    return right_before


def _full_accuracy(curve: Curve) -> float:
    """Of the full route, on the frames that the curve was made of.

    The few that leave at the highest threshold are taken to be right as often there as at the end.
    """
    top = curve.points[-1]
    return top.share * top.precision + (1.0 - top.share) * top.rest_accuracy


# What was seen.


def leave_rates(policy: ExitPolicy, shares: Sequence[float]) -> dict[str, float]:
    """By exit: of the frames that come to it, the share that leaves there; without the last step, where all do.

    `shares` are of all frames, one for each step. An exit that no frame comes to is absent.
    """
    coming, rates = 1.0, {}
    for (name, _), share in zip(policy.steps[:-1], shares, strict=False):
        if coming > LEAST_REACH:
            rates[name] = min(1.0, share / coming)
        coming -= share
    return rates


def _shifts(model: Model, observed: Observed) -> dict[str, float]:
    """By exit, how far its leave rate was from the forecast, in log-odds."""
    expected = leave_rates(observed.policy, forecast_of(model, observed.policy).shares)
    return {
        name: _log_odds(rate) - _log_odds(expected[name]) for name, rate in observed.rates.items() if name in expected
    }


def _shifted(policy: ExitPolicy, forecast: Forecast, shifts: Mapping[str, float]) -> Forecast:
    """The forecast with the leave rates that were seen. Nothing was seen of the accuracy: its drop stays."""
    if not any(name in shifts for name, _ in policy.steps):
        return forecast
    rates = leave_rates(policy, forecast.shares)
    coming, shares = 1.0, []
    for name, _ in policy.steps[:-1]:
        rate = rates.get(name, 0.0)
        if name in shifts and name in rates:
            rate = 1.0 / (1.0 + math.exp(-_log_odds(rate) - shifts[name]))
        shares.append(coming * rate)
        coming -= shares[-1]
    return Forecast((*shares, coming), forecast.accuracy_drop)


def _log_odds(rate: float) -> float:
    rate = min(max(rate, _LEAST_RATE), 1.0 - _LEAST_RATE)
    return math.log(rate / (1.0 - rate))
