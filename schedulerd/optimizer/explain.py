"""Plans in words: what changed and what was done about it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from blockstore.exits import FINAL
from schedulerd.plan import AppPlan, Plan, Route
from schedulerd.sizes import size_text


def sentence(old: Plan, new: Plan, cause: str, stranded: Collection[str] = ()) -> str:
    """One plain sentence: the cause, then what every app does about it, and what could not be kept.

    `stranded`: apps that are there, and have nothing left to run.
    """
    return f"{cause}: {'; '.join(clauses(old, new, stranded)) or 'no app is left'}"


def clauses(old: Plan, new: Plan, stranded: Collection[str] = ()) -> list[str]:
    """What every app does, then what could not be kept; empty where there is no app in either plan."""
    said = [*_moves(old, new, stranded), *_shortfalls(new)]
    return [*said, "chosen without the solver"] if new.status == "greedy" else said


def _moves(old: Plan, new: Plan, stranded: Collection[str]) -> Iterator[str]:
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
        yield f"{listed(kept)} {'keeps its route' if len(kept) == 1 else 'keep their routes'}"
    if stranded:
        yield f"nothing can be run for {listed(sorted(stranded))}"
    gone = [a.app_id for a in old.apps if new.app(a.app_id) is None and a.app_id not in stranded]
    if gone:
        yield f"{listed(gone)} {'is' if len(gone) == 1 else 'are'} gone"


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
    return f"leaves early at {listed(exits)}" + ("" if last == FINAL else f" and ends at {last}")


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
            budget_ms = app.miss_ms / excess.share
            yield f"{app_id} misses its budget of {budget_ms:g} ms by {app.miss_ms:.1f} ms"
        elif kind == "memory":
            over = size_text(plan.memory_bytes - plan.memory_limit_bytes)
            yield f"memory is {over} over its limit of {size_text(plan.memory_limit_bytes)}"
        elif kind == "utilisation":
            yield f"the lanes are {plan.utilisation:.0%} busy, {excess.share:.0%} over their cap"
        elif kind == "power":
            yield f"the apps draw {excess.share:.0%} more than the cap on power allows"
        else:
            yield f"{app_id} is under its accuracy floor"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
