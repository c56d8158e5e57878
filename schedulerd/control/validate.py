"""A problem that makes no sense is refused by name before anything is decided on it."""

from __future__ import annotations

import math

from schedulerd.control.problem import AppOptions, Option, Problem
from schedulerd.errors import InternalError


class BadProblem(InternalError):
    """A problem that cannot be decided: a cost that is no cost, a block without variants, an app twice."""


def check(problem: Problem) -> None:
    """Raise `BadProblem` with the value, its place and the remedy; do nothing for a sound problem."""
    limits = problem.limits
    _positive("slowdown", problem.slowdown)
    _positive("utilisation cap", limits.utilisation_cap)
    _positive("number of lanes", limits.lanes)
    _at_least_zero("serving overhead", limits.overhead_ms)
    names = [a.app.app_id for a in problem.apps]
    if len(set(names)) != len(names):
        raise BadProblem(f"two apps of one name among {', '.join(sorted(names))}; names of live apps are unique")
    sizes: dict[str, int] = {}
    for app in problem.apps:
        _check_app(app, sizes)


def _check_app(app: AppOptions, sizes: dict[str, int]) -> None:
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


def _check_option(place: str, option: Option, sizes: dict[str, int]) -> None:
    _at_least_zero(f"latency of {place}", option.latency_ms)
    _at_least_zero(f"95th percentile of {place}", option.latency_p95_ms)
    _at_least_zero(f"memory of {place}", option.memory_bytes)
    if not math.isfinite(option.accuracy_drop):
        raise BadProblem(f"accuracy drop of {place} is {option.accuracy_drop}; evaluate the model again")
    if sizes.setdefault(option.digest, option.memory_bytes) != option.memory_bytes:
        raise BadProblem(
            f"memory of {place} is {option.memory_bytes} bytes, elsewhere the same blob {option.digest[:12]} takes "
            f"{sizes[option.digest]}; profile the store again"
        )


def _positive(what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise BadProblem(f"{what} is {value}; it must be a number above 0")


def _at_least_zero(what: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise BadProblem(f"{what} is {value}; it must be a number of at least 0: profile the store again")
