"""Plans in words: what changed and what was done about it, and why an app does not get more. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blockstore.exits import FINAL
from schedulerd.control.choice import Choice
from schedulerd.control.predict import better_steps, choice_of, forbidden_by, plan_of
from schedulerd.control.problem import Problem
from schedulerd.plan import AppPlan, Excess, Plan, Route


@dataclass(frozen=True, slots=True)
class Why:
    """Why an app runs what it runs."""

    app_id: str
    binding: tuple[str, ...]
    """Limits that bind this app: its own, those that all apps share, and others that forbid its next better route."""
    next_better: Route | None
    """The route with the smallest gain in accuracy that one other block or exit policy gives; None without a better."""
    gain: float
    """Accuracy that it would bring, as an absolute fraction."""
    latency_p95_ms: float | None
    """Its predicted 95th percentile."""
    forbidden_by: tuple[Excess, ...]
    """What forbids it, and by what share of the limit; empty when nothing does."""


def why(problem: Problem, plan: Plan, app_id: str) -> Why:
    """Why `app_id` runs its route of `plan` under `problem`; KeyError names the apps there are."""
    names = [a.app.app_id for a in problem.apps]
    if app_id not in names:
        raise KeyError(f"no app {app_id!r}; there are {', '.join(names) or 'none'}")
    choice = choice_of(problem, {a.app_id: a.route for a in plan.apps})
    position = names.index(app_id)
    ours = {"memory", "utilisation", f"budget:{app_id}", f"floor:{app_id}"}
    step = min(better_steps(choice, position), key=lambda s: _gain(choice, s, position), default=None)
    if step is None:
        return Why(app_id, tuple(name for name in plan.binding if name in ours), None, 0.0, None, ())
    better = plan_of(step).apps[position]
    forbidden = forbidden_by(choice, step)
    ours |= {e.limit for e in forbidden}
    return Why(
        app_id=app_id,
        binding=tuple(name for name in plan.binding if name in ours),
        next_better=better.route,
        gain=_gain(choice, step, position),
        latency_p95_ms=better.latency_p95_ms,
        forbidden_by=forbidden,
    )


def _gain(choice: Choice, step: Choice, position: int) -> float:
    return choice.costs[position].accuracy_drop - step.costs[position].accuracy_drop


def sentence(old: Plan, new: Plan, cause: str) -> str:
    """One plain sentence: the cause, then what every app does about it, and what could not be kept."""
    said = [*_moves(old, new), *_shortfalls(new)]
    if new.status == "greedy":
        said.append("chosen without the solver")
    return f"{cause}: {'; '.join(said) or 'no app is left'}"


def _moves(old: Plan, new: Plan) -> Iterator[str]:
    """What changes first, then who keeps, then who has left."""
    kept = []
    for app in new.apps:
        before = old.app(app.app_id)
        if before is None:
            leaving = f" and {_leaving(app)}" if _leaves_early(app) else ""
            yield f"{app.app_id} starts at {app.latency_p95_ms:.1f} ms and accuracy {app.accuracy:.1%}{leaving}"
        elif changes := _changes(before, app):
            yield f"{app.app_id} {' and '.join(changes)}{_figures(before, app)}"
        else:
            kept.append(app.app_id)
    if kept:
        yield f"{_list(kept)} {'keeps its route' if len(kept) == 1 else 'keep their routes'}"
    gone = [a.app_id for a in old.apps if new.app(a.app_id) is None]
    if gone:
        yield f"{_list(gone)} {'is' if len(gone) == 1 else 'are'} gone"


def _changes(before: AppPlan, after: AppPlan) -> list[str]:
    """What an app does about its blocks and about its exit policy."""
    old, new = before.route, after.route
    if old.model != new.model:
        return [f"moves to {new.model}"]
    moved = sum(a != b for a, b in zip(_blocks(old), _blocks(new), strict=False))
    changes = [f"moves to {moved} {_kind(before, after)} block{'s' if moved > 1 else ''}"] if moved else []
    return changes if old.policy == new.policy else [*changes, _leaving(after)]


def _blocks(route: Route) -> list[tuple[str, str]]:
    return list(zip(route.variants, route.digests, strict=True))


def _figures(before: AppPlan, after: AppPlan) -> str:
    worst = f"{before.latency_p95_ms:.1f} -> {after.latency_p95_ms:.1f} ms"
    accuracy = f"accuracy {100 * before.accuracy:.1f} -> {100 * after.accuracy:.1f}%"
    if before.route.policy == after.route.policy:
        return f" ({worst}, {accuracy})"
    return f", {worst}, {before.expected_ms:.1f} -> {after.expected_ms:.1f} ms on average, {accuracy}"


def _leaves_early(app: AppPlan) -> bool:
    steps = app.route.policy.steps
    return len(steps) > 1 or steps[-1][0] != FINAL


def _leaving(app: AppPlan) -> str:
    """What the exit policy has the frames do."""
    *early, (last, _) = app.route.policy.steps
    exits = [f"{name} ({share:.0%} of its frames)" for (name, _), share in zip(early, app.exit_shares, strict=False)]
    if not exits:
        return "runs every frame to the end" if last == FINAL else f"ends every frame at {last}"
    return f"leaves early at {_list(exits)}" + ("" if last == FINAL else f" and ends at {last}")


def _kind(before: AppPlan, after: AppPlan) -> str:
    """Smaller or larger where memory and accuracy agree (times also follow the load), else other."""
    if after.memory_bytes < before.memory_bytes and after.accuracy <= before.accuracy:
        return "smaller"
    if after.memory_bytes > before.memory_bytes and after.accuracy >= before.accuracy:
        return "larger"
    return "other"


def _shortfalls(plan: Plan) -> Iterator[str]:
    """What is exceeded although nothing better was found."""
    for excess in plan.broken:
        kind, _, app_id = excess.limit.partition(":")
        app = plan.app(app_id)
        if kind == "budget" and app is not None:
            budget_ms = app.latency_p95_ms - app.miss_ms
            yield f"{app_id} misses its budget of {budget_ms:g} ms by {app.miss_ms:.1f} ms"
        elif kind == "memory":
            over_bytes = plan.memory_bytes - plan.memory_limit_bytes
            yield f"memory is {over_bytes / 1e6:.1f} MB over its limit of {plan.memory_limit_bytes / 1e6:.1f} MB"
        elif kind == "utilisation":
            yield f"the lanes are {plan.utilisation:.0%} busy, {excess.share:.0%} over their cap"
        else:
            yield f"{app_id} is under its accuracy floor"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
