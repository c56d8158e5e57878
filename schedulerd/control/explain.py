"""Plans in words: what changed and what was done about it, and why an app does not get more. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
    """The route with the smallest gain in accuracy that one other block gives; None when there is no better block."""
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
            yield f"{app.app_id} starts at {app.latency_p95_ms:.1f} ms and accuracy {app.accuracy:.1%}"
        elif before.route == app.route:
            kept.append(app.app_id)
        else:
            yield _move(before, app)
    if kept:
        yield f"{_list(kept)} {'keeps its route' if len(kept) == 1 else 'keep their routes'}"
    gone = [a.app_id for a in old.apps if new.app(a.app_id) is None]
    if gone:
        yield f"{_list(gone)} {'is' if len(gone) == 1 else 'are'} gone"


def _move(before: AppPlan, after: AppPlan) -> str:
    same_model = before.route.model == after.route.model
    count = sum(a != b for a, b in zip(before.route.variants, after.route.variants, strict=False))
    what = f"{count} {_kind(before, after)} block{'s' if count > 1 else ''}" if same_model else after.route.model
    return (
        f"{after.app_id} moves to {what} "
        f"({before.latency_p95_ms:.1f} -> {after.latency_p95_ms:.1f} ms, "
        f"accuracy {100 * before.accuracy:.1f} -> {100 * after.accuracy:.1f}%)"
    )


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
