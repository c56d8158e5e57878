"""Routes without a solver: from the most accurate ones down, by the step that relieves most for what it costs.

It stands in when the solver has no answer in time, and shows the optimizer which limits can be kept at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from schedulerd.control.choice import TOLERANCE, Choice, most_accurate, wait_in_ms, weight_of
from schedulerd.control.problem import Option, Problem
from schedulerd.control.reduce import Kept, undominated
from schedulerd.plan import relief

_THRIFT = 1e-3
"""Worth of saving where nothing is over, beside saving where something is: leads across steps that relieve nothing."""
_FREE = 1e-9
"""Least price of a step, so that free ones can be compared."""


@dataclass(frozen=True, slots=True)
class Step:
    """One block of one app takes another option."""

    position: int
    block: int
    pick: int


def greedy(problem: Problem) -> Choice:
    """A good choice, quickly; the same one for equal problems. Floors are kept, other limits as far as it can."""
    kept = undominated(problem)
    choice = best = most_accurate(problem)
    while choice.broken():
        step = _best_step_down(choice, kept)
        if step is None:
            break
        choice = choice.step(step.position, step.block, step.pick)
        if relief(best.broken(), choice.broken(), TOLERANCE) > 0:
            best = choice
    return taken_back(best, kept)


def _best_step_down(choice: Choice, kept: Kept) -> Step | None:
    """The cheaper, less accurate option that saves most where it is short per weighted accuracy lost."""
    savings = _savings(choice)
    best: Step | None = None
    best_score = 0.0
    for position, app in enumerate(choice.problem.apps):
        allowed = app.full_accuracy - choice.costs[position].accuracy_drop - choice.floors[position] + TOLERANCE
        weight = weight_of(app)
        for step, old, new in _options(choice, kept, position):
            lost = new.accuracy_drop - old.accuracy_drop
            if lost > allowed or _order(new, step.pick) <= _order(old, choice.picks[position][step.block]):
                continue
            score = savings(position, step.block, new) / (weight * lost + _FREE)
            if score > best_score:
                best, best_score = step, score
    return best


def _order(option: Option, index: int) -> tuple[float, float, int]:
    """Steps down go one way along this order, and so come to an end."""
    return option.accuracy_drop, option.latency_ms, index


def _options(choice: Choice, kept: Kept, position: int) -> Iterator[tuple[Step, Option, Option]]:
    """Every step of one app, with the option it leaves and the one it takes."""
    for block, options in enumerate(choice.problem.apps[position].blocks):
        old = choice.option(position, block)
        for pick in kept[position][block]:
            yield Step(position, block, pick), old, options[pick]


def _savings(choice: Choice) -> Callable[[int, int, Option], float]:
    """What taking an option in one block saves: shares of the limits that are exceeded, and a little of the others."""
    problem = choice.problem
    limits, slowdown = problem.limits, problem.slowdown
    over = {e.limit: e.share for e in choice.broken()}
    memory_limit = max(limits.memory_bytes, 1)
    ahead, in_the_way = _delays(choice, over)

    def of_limit(saved: float, exceeded: float) -> float:
        return min(saved, exceeded) + _THRIFT * saved

    def of_waits(position: int, block: int, new: Option) -> float:
        """What apps that miss their budgets wait less for this one."""
        old = choice.option(position, block)
        shorter_ms = slowdown * (old.latency_ms - new.latency_ms)
        share = sum(min(exceeded, per_ms * shorter_ms) for exceeded, per_ms in ahead[position])
        if in_the_way[position] and slowdown * old.latency_ms >= choice.costs[position].longest_ms:
            rest = [o.latency_ms for b, o in enumerate(choice.options(position)) if b != block]
            longest_ms = slowdown * max(new.latency_ms, *rest, 0.0)
            share += sum(way.saved(longest_ms) for way in in_the_way[position])
        return share

    def saved(position: int, block: int, new: Option) -> float:
        app = problem.apps[position].app
        old = choice.option(position, block)
        busy = app.rate_hz * slowdown * (old.latency_ms - new.latency_ms) / 1000.0 / limits.lanes
        p95 = slowdown * (old.latency_p95_ms - new.latency_p95_ms)
        freed = 0 if choice.users[old.digest] > 1 else old.memory_bytes
        added = 0 if choice.users.get(new.digest) else new.memory_bytes
        return (
            of_limit((freed - added) / memory_limit, over.get("memory", 0.0))
            + of_limit(busy / limits.utilisation_cap, over.get("utilisation", 0.0))
            + of_limit(p95 / app.budget_ms, over.get(f"budget:{app.app_id}", 0.0))
            + of_waits(position, block, new)
        )

    return saved


@dataclass(frozen=True, slots=True)
class _InTheWay:
    """An app whose longest block is in the way of one that misses its budget."""

    exceeded: float
    """Share by which that budget is missed."""
    budget_ms: float
    block_ms: float
    other_block_ms: float
    """The longest block of the other apps that could be in the way."""

    def saved(self, longest_ms: float) -> float:
        """Share of the budget that is gained when the app's longest block takes `longest_ms`."""
        return min(self.exceeded, (self.block_ms - max(self.other_block_ms, longest_ms)) / self.budget_ms)


def _delays(choice: Choice, over: Mapping[str, float]) -> tuple[list[list[tuple[float, float]]], list[list[_InTheWay]]]:
    """How each app delays those whose budgets are in `over`, in the window that decides there now.

    First, where its requests come first: by what share that budget is missed, and what share each ms less of the whole
    route is. Second, where its longest block is in the way.
    """
    ahead: list[list[tuple[float, float]]] = [[] for _ in choice.costs]
    in_the_way: list[list[_InTheWay]] = [[] for _ in choice.costs]
    for position, app in enumerate(choice.problem.apps):
        exceeded, budget_ms = over.get(f"budget:{app.app.app_id}"), app.app.budget_ms
        if exceeded is None:
            continue
        window = max(choice.contention[position], key=lambda w: wait_in_ms(w, choice.costs))
        for other, requests in window.ahead:
            ahead[other].append((exceeded, requests / budget_ms))
        blocks = {b: choice.costs[b].longest_ms for b in window.blockers}
        for other, block_ms in blocks.items():
            other_block_ms = max((ms for b, ms in blocks.items() if b != other), default=0.0)
            if block_ms >= other_block_ms:
                in_the_way[other].append(_InTheWay(exceeded, budget_ms, block_ms, other_block_ms))
    return ahead, in_the_way


def taken_back(choice: Choice, kept: Kept) -> Choice:
    """Steps up that break nothing, the most accurate first: what later steps down have made room for."""
    gains = [
        (weight_of(app) * (old.accuracy_drop - new.accuracy_drop), step)
        for position, app in enumerate(choice.problem.apps)
        for step, old, new in _options(choice, kept, position)
        if new.accuracy_drop < old.accuracy_drop
    ]
    for _, step in sorted(gains, key=lambda g: (-g[0], g[1].position, g[1].block, g[1].pick)):
        present, wanted = choice.option(step.position, step.block), choice.problem.apps[step.position].blocks
        if wanted[step.block][step.pick].accuracy_drop >= present.accuracy_drop:
            continue
        stepped = choice.step(step.position, step.block, step.pick)
        if relief(choice.broken(), stepped.broken(), TOLERANCE) >= 0:
            choice = stepped
    return choice
