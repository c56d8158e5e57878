"""A problem that makes no sense is refused by name before anything is decided on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from schedulerd.control.problem import AppOptions, Head, Option, PolicyOption, Problem
from schedulerd.errors import InternalError

_ROUNDING = 1e-6
"""Of a sum of shares."""

_Sizes = dict[str, tuple[int, int]]
"""Memory and arena of each blob that has been met, by digest."""


class BadProblem(InternalError):
    """A problem that cannot be decided: a cost that is no cost, a block without variants, an app twice."""


def check(problem: Problem) -> None:
    """Raise `BadProblem` with the value, its place and the remedy; do nothing for a sound problem."""
    limits = problem.limits
    _positive("utilisation cap", limits.utilisation_cap)
    _positive("number of lanes", limits.lanes)
    _at_least_zero("serving overhead", limits.overhead_ms)
    names = [a.app.app_id for a in problem.apps]
    if len(set(names)) != len(names):
        raise BadProblem(f"two apps of one name among {', '.join(sorted(names))}; names of live apps are unique")
    sizes: _Sizes = {}
    for app in problem.apps:
        _check_app(app, sizes)


def _check_app(app: AppOptions, sizes: _Sizes) -> None:
    name = app.app.app_id
    _positive(f"budget of {name}", app.app.budget_ms)
    _positive(f"rate of {name}", app.app.rate_hz)
    _positive(f"priority of {name}", app.app.priority)
    _at_least_zero(f"accuracy floor of {name}", app.app.accuracy_floor)
    _at_least_zero(f"full accuracy of {name}", app.full_accuracy)
    if not app.blocks:
        raise BadProblem(f"the model of {name} has no blocks; build it again")
    for index, block in enumerate(app.blocks):
        if not block:
            raise BadProblem(f"block {index} of {name} has no variants; import or build its model again")
        for option in block:
            _check_option(f"{option.variant!r} of block {index} of {name}", option, sizes)
    if len({policy.policy for policy in app.policies}) != len(app.policies):
        raise BadProblem(f"{name} has one exit policy twice; each is offered once")
    for policy in app.policies:
        _check_policy(f"policy {policy.policy.name!r} of {name}", policy, len(app.blocks), sizes)


def _check_option(place: str, option: Option, sizes: _Sizes) -> None:
    _at_least_zero(f"latency of {place}", option.latency_ms)
    _at_least_zero(f"95th percentile of {place}", option.latency_p95_ms)
    if not math.isfinite(option.accuracy_drop):
        raise BadProblem(f"accuracy drop of {place} is {option.accuracy_drop}; evaluate the model again")
    _check_size(place, option, sizes)


def _check_policy(place: str, policy: PolicyOption, blocks: int, sizes: _Sizes) -> None:
    shares, reach = policy.shares, policy.reach
    if len(shares) != len(policy.policy.steps) or not _are_shares(shares) or abs(sum(shares) - 1.0) > _ROUNDING:
        raise BadProblem(f"{place} has shares {shares} for {policy.policy}: one a step from 0 to 1, and 1 in all")
    if len(reach) != blocks or not _are_shares(reach) or reach[0] != 1.0 or sorted(reach, reverse=True) != [*reach]:
        raise BadProblem(f"{place} reaches {reach} of {blocks} blocks: shares that fall from 1 and never rise")
    for times_ms in (policy.heads_ms, policy.heads_p95_ms):
        if len(times_ms) != blocks or any(times_ms[policy.depth :]):
            raise BadProblem(f"{place} has head times {times_ms}: one for each of {blocks} blocks, 0 past the depth")
        for time_ms in times_ms:
            _at_least_zero(f"latency of a head of {place}", time_ms)
    if not math.isfinite(policy.accuracy_drop):
        raise BadProblem(f"accuracy drop of {place} is {policy.accuracy_drop}; build the model's exits again")
    for head in policy.heads:
        _check_size(f"head {head.digest[:12]} of {place}", head, sizes)


def _are_shares(values: Sequence[float]) -> bool:
    """Written so that NaN, which no comparison holds for, is none."""
    return all(0.0 <= value <= 1.0 for value in values)


def _check_size(place: str, blob: Option | Head, sizes: _Sizes) -> None:
    """`sizes` grows by the blob's own."""
    _at_least_zero(f"memory of {place}", blob.memory_bytes)
    _at_least_zero(f"arena of {place}", blob.arena_bytes)
    memory_bytes, arena_bytes = sizes.setdefault(blob.digest, (blob.memory_bytes, blob.arena_bytes))
    compared = (("memory", blob.memory_bytes, memory_bytes), ("arena", blob.arena_bytes, arena_bytes))
    for what, size_bytes, known_bytes in compared:
        if size_bytes != known_bytes:
            raise BadProblem(
                f"{what} of {place} is {size_bytes} bytes, elsewhere the same blob {blob.digest[:12]} takes "
                f"{known_bytes}; profile the store again"
            )


def _positive(what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise BadProblem(f"{what} is {value}; it must be a number above 0")


def _at_least_zero(what: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise BadProblem(f"{what} is {value}; it must be a number of at least 0: profile the store again")
