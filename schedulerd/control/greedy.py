"""Routes without a solver: from the most accurate ones down, by the step that relieves most for what it costs.

It stands in when the solver has no answer in time, and shows the optimizer which limits can be kept at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from schedulerd.control.choice import Choice, Step, most_accurate
from schedulerd.control.cost import TOLERANCE, RouteCost, wait_in_ms, weight_of
from schedulerd.control.problem import Option, Problem
from schedulerd.control.reduce import Kept, undominated
from schedulerd.plan import relief

_THRIFT = 1e-3
"""Worth of saving where nothing is over, beside saving where something is: leads across steps that relieve nothing."""
_FREE = 1e-9
"""Least price of a step, so that free ones can be compared."""


def greedy(problem: Problem) -> Choice:
    """A good choice, quickly; the same one for equal problems. Floors are kept, other limits as far as it can."""
    kept = undominated(problem)
    choice = best = most_accurate(problem)
    down = [_steps_down(choice, kept, position) for position in range(len(problem.apps))]
    while choice.broken():
        step = _best_step(choice, down)
        if step is None:
            break
        choice = choice.step(step)
        down[step.position] = _steps_down(choice, kept, step.position)
        if relief(best.broken(), choice.broken(), TOLERANCE) > 0:
            best = choice
    return taken_back(best, kept)


def _best_step(choice: Choice, steps: Sequence[Sequence[tuple[Step, RouteCost]]]) -> Step | None:
    """Of each app's steps and what its route then costs, what saves most where it is short per accuracy lost."""
    savings = _savings(choice)
    best: Step | None = None
    best_score = 0.0
    for app, present, of_app in zip(choice.problem.apps, choice.costs, steps, strict=True):
        weight = weight_of(app)
        for step, cost in of_app:
            lost = max(0.0, cost.accuracy_drop - present.accuracy_drop)
            score = savings(step, cost) / (weight * lost + _FREE)
            if score > best_score:
                best, best_score = step, score
    return best


def _steps_down(choice: Choice, kept: Kept, position: int) -> list[tuple[Step, RouteCost]]:
    """The cheaper, less accurate options and policies that the floor of an app allows, with what its route then costs.

    They go one way along an order of options and of policies, and so come to an end.
    """
    app, drop = choice.problem.apps[position], choice.costs[position].accuracy_drop
    allowed = app.full_accuracy - choice.floors[position] + TOLERANCE
    steps: list[Step] = []
    for block, old in enumerate(choice.options(position)):
        order = _order(old, choice.picks[position][block])
        for pick in kept.options[position][block]:
            new = app.blocks[block][pick]
            if _order(new, pick) > order and drop + new.accuracy_drop - old.accuracy_drop <= allowed:
                steps.append(Step(position, block, pick))
    policies = kept.policies[position]
    steps += [Step(position, None, number) for number in policies[policies.index(choice.policies[position]) + 1 :]]
    costs = [(step, choice.cost_after(step)) for step in steps]
    return [(step, cost) for step, cost in costs if cost.accuracy_drop <= allowed]


def _order(option: Option, index: int) -> tuple[float, float, int]:
    return option.accuracy_drop, option.latency_ms, index


def _savings(choice: Choice) -> Callable[[Step, RouteCost], float]:
    """What a step to a route of this cost saves: shares of the limits that are exceeded, and a little of the others."""
    limits = choice.problem.limits
    over = {e.limit: e.share for e in choice.broken()}
    memory_limit = max(limits.memory_bytes, 1)
    ahead, in_the_way = _delays(choice, over)

    def of_limit(saved: float, exceeded: float) -> float:
        return min(saved, exceeded) + _THRIFT * saved

    def of_waits(position: int, old: RouteCost, new: RouteCost) -> float:
        """What apps that miss their budgets wait less for this one."""
        shorter_ms = old.median_ms - new.median_ms
        share = sum(min(exceeded, per_ms * shorter_ms) for exceeded, per_ms in ahead[position])
        return share + sum(way.saved(new.longest_ms) for way in in_the_way[position])

    def saved(step: Step, new: RouteCost) -> float:
        app, old = choice.problem.apps[step.position].app, choice.costs[step.position]
        freed = choice.memory_bytes - choice.memory_after(step, new)
        busy = app.rate_hz * (old.expected_ms - new.expected_ms) / 1000.0 / limits.lanes
        return (
            of_limit(freed / memory_limit, over.get("memory", 0.0))
            + of_limit(busy / limits.utilisation_cap, over.get("utilisation", 0.0))
            + of_limit((old.p95_ms - new.p95_ms) / app.budget_ms, over.get(f"budget:{app.app_id}", 0.0))
            + of_waits(step.position, old, new)
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
    positions = range(len(choice.problem.apps))
    others = [(p, number) for p in positions for number in kept.policies[p] if number != choice.policies[p]]
    choice = _taken(choice, [Step(p, None, number) for p, number in others])
    return _taken(choice, [step for p in positions for step in _block_steps_up(choice, kept, p)])


def _block_steps_up(choice: Choice, kept: Kept, position: int) -> Iterator[Step]:
    """The more accurate options of one app."""
    for block, old in enumerate(choice.options(position)):
        for pick in kept.options[position][block]:
            if choice.problem.apps[position].blocks[block][pick].accuracy_drop < old.accuracy_drop:
                yield Step(position, block, pick)


def _taken(choice: Choice, steps: Sequence[Step]) -> Choice:
    """The choice after those of the steps that gain accuracy and break nothing, in order of what they gain at first."""
    gains = [(_gain(choice, step), order, step) for order, step in enumerate(steps)]
    for gain, _, step in sorted(gains, key=lambda g: (-g[0], g[1])):
        if gain > 0 and _gain(choice, step) > 0:
            stepped = choice.step(step)
            if relief(choice.broken(), stepped.broken(), TOLERANCE) >= 0:
                choice = stepped
    return choice


def _gain(choice: Choice, step: Step) -> float:
    """Weighted accuracy."""
    present = choice.costs[step.position].accuracy_drop
    return weight_of(choice.problem.apps[step.position]) * (present - choice.cost_after(step).accuracy_drop)
