"""A problem that makes no sense is refused by name before anything is decided on it.

Values have upper limits as well, far above what a board can have. What is beyond is a mistake, and solvers refuse the
rows of a program whose factors are beyond 1e15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blockstore.accuracy_model import KINDS, AccuracyModel
from schedulerd.errors import InternalError
from schedulerd.optimizer.objectives import OBJECTIVES
from schedulerd.optimizer.problem import MAX_APPS, AppOptions, Head, Limits, Option, PolicyOption, Problem
from schedulerd.plan import MAX_PERCENTILE, MAX_PRIORITY, MIN_PERCENTILE, MIN_PRIORITY, App

_ROUNDING: Final = 1e-6
"""Of a sum of shares."""
_LEAST: Final = 1e-4
"""Of what others are divided by, in its own unit."""
_MOST_MS: Final = 3.6e6
"""An hour."""
_MOST_HZ: Final = 1e4
_MOST_MJ: Final = 1e6
"""Of one run, a kilojoule."""
_MOST_W: Final = 1e6
_MOST_BYTES: Final = 2**40
"""Of one blob; the limit may be what a server has."""
_MOST_LIMIT_BYTES: Final = 2**60
_MOST_LANES: Final = 1024
_MOST_CAP: Final = 1e9
"""What stands for no cap on utilisation."""
_MOST_ACCURACY: Final = 1.0
_MOST_DAMAGE: Final = 1e3
_MOST_SHAPE: Final = 40.0
"""Of an accuracy model: more, as a power of the most damage, could not be worked out. The builder's are 12 at most."""

_Sizes = dict[str, tuple[int, int]]
"""Memory and arena of each blob that has been met, by digest."""


class BadProblem(InternalError):
    """A problem that cannot be decided: a cost that is no cost, a block without variants, an app twice."""


def check(problem: Problem) -> None:
    """Raise `BadProblem` with the value, its place and the remedy; do nothing for a sound problem."""
    # First, because everything else takes its time with ten thousand apps.
    if len(problem.apps) > MAX_APPS:
        raise BadProblem(f"{len(problem.apps)} apps; at most {MAX_APPS} can be planned together: let some leave")
    if problem.objective not in OBJECTIVES:
        raise BadProblem(f"objective is {problem.objective!r}; it must be one of {', '.join(OBJECTIVES)}")
    _check_limits(problem.limits)
    _up_to("swap cost", problem.swap_cost, _MOST_ACCURACY, "set it to 0 where changes are free")
    names = [a.app.app_id for a in problem.apps]
    if len(set(names)) != len(names):
        raise BadProblem(f"two apps of one name among {', '.join(sorted(names))}; names of live apps are unique")
    sizes: _Sizes = {}
    for app in problem.apps:
        _check_wishes(app.app)
        _check_options(app, sizes)


def _check_limits(limits: Limits) -> None:
    _up_to("memory limit", limits.memory_bytes, _MOST_LIMIT_BYTES, "read the board again")
    _within("utilisation cap", limits.utilisation_cap, _LEAST, _MOST_CAP)
    _within("number of lanes", limits.lanes, 1, _MOST_LANES)
    _up_to("serving overhead", limits.overhead_ms, _MOST_MS)
    if limits.power_cap_w is not None:
        _within("power cap", limits.power_cap_w, _LEAST, _MOST_W)


def _check_wishes(app: App) -> None:
    name = app.app_id
    _within(f"budget of {name}", app.budget_ms, _LEAST, _MOST_MS)
    _within(f"rate of {name}", app.rate_hz, _LEAST, _MOST_HZ)
    _within(f"accuracy floor of {name}", app.accuracy_floor, 0.0, _MOST_ACCURACY)
    _within(f"priority of {name}", app.priority, MIN_PRIORITY, MAX_PRIORITY)
    _within(f"percentile of {name}", app.percentile, MIN_PERCENTILE, MAX_PERCENTILE)


def _check_options(app: AppOptions, sizes: _Sizes) -> None:
    name = app.app.app_id
    _up_to(f"full accuracy of {name}", app.full_accuracy, _MOST_ACCURACY)
    if not app.blocks:
        raise BadProblem(f"the model of {name} has no blocks; build it again")
    for index, block in enumerate(app.blocks):
        if not block:
            raise BadProblem(f"block {index} of {name} has no variants; import or build its model again")
        for option in block:
            if not _is_sound(option, sizes):
                _check_option(f"{option.variant!r} of block {index} of {name}", option, sizes)
    if app.pins and len(app.pins) != len(app.blocks):
        raise BadProblem(f"{name} has {len(app.pins)} pins for {len(app.blocks)} blocks; give one each, '' for none")
    _check_accuracy(app)
    if len({policy.policy for policy in app.policies}) != len(app.policies):
        raise BadProblem(f"{name} has one exit policy twice; each is offered once")
    for policy in app.policies:
        _check_policy(f"policy {policy.policy.name!r} of {name}", policy, len(app.blocks), sizes)


def _is_sound(option: Option, sizes: _Sizes) -> bool:
    """What `_check_option` finds nothing wrong with, without a word: a problem may have twenty thousand options."""
    size = option.memory_bytes, option.arena_bytes
    costs = (option.latency_ms, option.latency_p95_ms, option.energy_mj or 0.0)
    # A NaN among them makes the sum one, and then it is not below anything.
    return (
        min(*costs, *size) >= 0
        and sum(costs) <= _MOST_MS
        and sum(size) <= _MOST_BYTES
        and abs(option.accuracy_drop) <= _MOST_ACCURACY
        and option.variant != ""
        and sizes.setdefault(option.digest, size) == size
    )


def _check_option(place: str, option: Option, sizes: _Sizes) -> None:
    if not option.variant:
        raise BadProblem(f"the name of {place} is empty, which pins take for none; build its model again")
    _up_to(f"latency of {place}", option.latency_ms, _MOST_MS)
    _up_to(f"95th percentile of {place}", option.latency_p95_ms, _MOST_MS)
    if option.energy_mj is not None:
        _up_to(f"energy of {place}", option.energy_mj, _MOST_MJ)
    _check_drop(place, option.accuracy_drop, "evaluate the model again")
    _check_size(place, option, sizes)


def _check_accuracy(app: AppOptions) -> None:
    """One damage for each option; what else an accuracy model needs is checked when it is read."""
    if app.accuracy is None:
        return
    name, damages = app.app.app_id, app.accuracy.damages
    offered = [len(block) for block in app.blocks]
    if [len(row) for row in damages] != offered:
        raise BadProblem(
            f"the accuracy model of {name} has {[len(row) for row in damages]} damages for {offered} variants; "
            f"give one for each"
        )
    remedy = "evaluate the model again"
    for index, row in enumerate(damages):
        for damage in row:
            _up_to(f"damage in block {index} of {name}", damage, _MOST_DAMAGE, remedy)
    for what, most in (("original", _MOST_ACCURACY), ("floor", _MOST_ACCURACY), ("shape", _MOST_SHAPE)):
        _up_to(f"{what} of the accuracy model of {name}", getattr(app.accuracy, what), most, remedy)
    _check_curve(name, app.accuracy)


def _check_curve(name: str, model: AccuracyModel) -> None:
    """Of the right kind, falling, with one cosine for each pair of blocks; a recorded problem may have anything."""
    if model.kind not in KINDS:
        raise BadProblem(f"accuracy model of {name} is of kind {model.kind!r}; known are {', '.join(KINDS)}")
    if model.floor > model.original:
        raise BadProblem(f"accuracy model of {name} falls from {model.original} to {model.floor}, which is more")
    if model.cosines and [len(row) for row in model.cosines] != list(range(len(model.damages))):
        raise BadProblem(f"accuracy model of {name} has cosines {model.cosines}; give one for each pair of blocks")
    if not all(-1.0 <= cosine <= 1.0 for row in model.cosines for cosine in row):
        raise BadProblem(f"accuracy model of {name} has cosines {model.cosines}, not all from -1 to 1")


def _check_policy(place: str, policy: PolicyOption, blocks: int, sizes: _Sizes) -> None:
    shares, reach = policy.shares, policy.reach
    if len(shares) != len(policy.policy.steps) or not _are_shares(shares) or abs(sum(shares) - 1.0) > _ROUNDING:
        raise BadProblem(f"{place} has shares {shares} for {policy.policy}: one a step from 0 to 1, and 1 in all")
    if len(reach) != blocks or not _are_shares(reach) or reach[0] != 1.0 or sorted(reach, reverse=True) != [*reach]:
        raise BadProblem(f"{place} reaches {reach} of {blocks} blocks: shares that fall from 1 and never rise")
    _check_heads(place, "times", policy.heads_ms, blocks, policy.depth)
    _check_heads(place, "times", policy.heads_p95_ms, blocks, policy.depth)
    if policy.heads_mj:
        _check_heads(place, "energies", policy.heads_mj, blocks, policy.depth)
    _check_drop(place, policy.accuracy_drop, "build the model's exits again")
    for head in policy.heads:
        _check_size(f"head {head.digest[:12]} of {place}", head, sizes)


def _check_heads(place: str, what: str, values: Sequence[float], blocks: int, depth: int) -> None:
    if len(values) != blocks or any(values[depth:]):
        raise BadProblem(f"{place} has head {what} {values}: one for each of {blocks} blocks, 0 past the depth")
    named, most = ("latency", _MOST_MS) if what == "times" else ("energy", _MOST_MJ)
    for value in values:
        _up_to(f"{named} of a head of {place}", value, most)


def _are_shares(values: Sequence[float]) -> bool:
    """Written so that NaN, which no comparison holds for, is none."""
    return all(0.0 <= value <= 1.0 for value in values)


def _check_size(place: str, blob: Option | Head, sizes: _Sizes) -> None:
    """`sizes` grows by the blob's own."""
    _up_to(f"memory of {place}", blob.memory_bytes, _MOST_BYTES)
    _up_to(f"arena of {place}", blob.arena_bytes, _MOST_BYTES)
    memory_bytes, arena_bytes = sizes.setdefault(blob.digest, (blob.memory_bytes, blob.arena_bytes))
    compared = (("memory", blob.memory_bytes, memory_bytes), ("arena", blob.arena_bytes, arena_bytes))
    for what, size_bytes, known_bytes in compared:
        if size_bytes != known_bytes:
            raise BadProblem(
                f"{what} of {place} is {size_bytes} bytes, elsewhere the same blob {blob.digest[:12]} takes "
                f"{known_bytes}; profile the store again"
            )


def _check_drop(place: str, drop: float, remedy: str) -> None:
    """Negative ones are sound: retraining may gain something."""
    if not abs(drop) <= _MOST_ACCURACY:
        raise BadProblem(f"accuracy drop of {place} is {drop}; it must be -1 to 1: {remedy}")


def _up_to(what: str, value: float, most: float, remedy: str = "profile the store again") -> None:
    if not 0 <= value <= most:
        raise BadProblem(f"{what} is {value}; it must be 0 to {most:g}: {remedy}")


def _within(what: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise BadProblem(f"{what} is {value}; it must be {least:g} to {most:g}")
