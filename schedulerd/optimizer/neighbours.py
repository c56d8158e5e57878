"""The next better route of one app: one other block or exit policy. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import Final

from schedulerd.optimizer.accuracy import most_accurate_picks
from schedulerd.optimizer.predict import choice_of
from schedulerd.optimizer.problem import AppOptions, PolicyOption, Problem
from schedulerd.optimizer.variations import pinned
from schedulerd.plan import Route

SLIGHT: Final = 1e-6
"""Accuracies and shares this close are equal."""
NOTICED: Final = 5e-4
"""Accuracy, as an absolute fraction, that a better route gains at least: less is no reason to want it."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a route takes by itself; less is better of each."""

    loss: float
    tail_ms: float
    expected_ms: float
    energy_mj: float
    memory_bytes: int


def next_better(problem: Problem, position: int, present: Route) -> Route | None:
    """The route with the smallest gain in accuracy, from `NOTICED` on, that one other block or policy of an app gives.

    A gain for which another route gives more, at no more time, energy or memory, is passed over.
    None where no step gains as much.

    Raises:
        KeyError: `present` is not among the app's choices.
    """
    app = problem.apps[position]
    alone = replace(problem, apps=(app,))
    before = _taken(alone, present)
    steps = [(route, _taken(alone, route)) for route in _steps(pinned(app), present)]
    better = [(route, taken) for route, taken in steps if taken.loss < before.loss - NOTICED + SLIGHT]
    worth = [(route, taken) for route, taken in better if not any(_outdoes(other, taken) for _, other in better)]
    least = max(worth, key=lambda step: (step[1].loss, -step[1].tail_ms), default=None)
    return least and least[0]


def _taken(alone: Problem, route: Route) -> _Taken:
    choice = choice_of(alone, {alone.apps[0].app.app_id: route})
    (cost,) = choice.costs
    return _Taken(cost.accuracy_drop, cost.tail_ms, cost.expected_ms, cost.energy_mj, choice.memory_bytes)


def _outdoes(one: _Taken, other: _Taken) -> bool:
    return one.loss < other.loss - SLIGHT and all(a <= b for a, b in zip(astuple(one), astuple(other), strict=True))


def _steps(app: AppOptions, route: Route) -> Iterator[Route]:
    """The routes that differ in the option of one block, or in the policy alone."""
    for block, options in enumerate(app.blocks[: len(route.variants)]):
        for option in options:
            variants = _with(route.variants, block, option.variant)
            yield replace(route, variants=variants, digests=_with(route.digests, block, option.digest))
    for policy in app.policies:
        yield _under(app, route, policy)


def _with(values: tuple[str, ...], place: int, value: str) -> tuple[str, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _under(app: AppOptions, route: Route, policy: PolicyOption) -> Route:
    """The route under another policy; blocks that it did not reach so far run their most accurate option."""
    before, depth = len(route.variants), policy.depth
    best = [block[pick] for block, pick in zip(app.blocks, most_accurate_picks(app), strict=True)]
    return Route(
        model=route.model,
        variants=(*route.variants[:depth], *(o.variant for o in best[before:depth])),
        digests=(*route.digests[:depth], *(o.digest for o in best[before:depth])),
        policy=policy.policy,
        heads=tuple(head.digest for head in policy.heads),
    )
