"""What deciding for all apps together and block by block is worth: real stores, beside peers, judged by one recheck.

Cuts are taken of sums over the draws in which both sides keep all limits; in how many each side cannot is shown beside
them.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.harness import Figure, Target
from benchmarks.optimizer_gap import plan_loss
from benchmarks.optimizer_peers import exhaustive, legodnn, value_of, whole_models, worse
from benchmarks.optimizer_stores import RANGES, Pool, draw, pool_of
from benchmarks.optimizer_timing import decide, default_solver, percentiles
from schedulerd.optimizer.objectives import MAX_ACCURACY, MIN_LATENCY
from schedulerd.optimizer.predict import predict
from schedulerd.optimizer.problem import AppOptions, Problem
from schedulerd.optimizer.recheck import violations
from schedulerd.plan import Plan, Route

DRAWS, DRAWS_QUICK = 50, 4
"""For each range of co-running apps."""
SMALL_DRAWS, SMALL_DRAWS_QUICK = 20, 2
_SMALL_OPTIONS = 2
"""Left for each block where every combination is tried: 4096 for two networks of six blocks."""
CUTS: Final = {"latency_cut": 22.0, "accuracy_loss_cut": 70.0}
FIGURES: Final = (
    *CUTS,
    *(f"{cut}_{name}" for cut in CUTS for name in RANGES),
    "latency_p95_cut",
    "worse_than_peer",
    "peer_loss_cut",
    *(f"{who}_exceeds" for who in ("ours", "whole_models", "peer", "peer_sharing_time")),
    "unequal_to_exhaustive",
    "decide_stores_p50_ms",
    "decide_stores_p95_ms",
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One draw, with what each side chose; None where whole models cannot keep the limits."""

    range: str
    problem: Problem
    ours: Plan
    took_ms: float
    whole: Plan | None
    peers: Mapping[str, Plan]
    """By name; none where latency is minimised."""


def measure(stores: Sequence[Path], scratch: Path, *, quick: bool) -> dict[str, Figure]:
    """Every figure of this file, over the networks of the demo's store and of `stores`."""
    pool = pool_of(stores, scratch, quick=quick)
    draws = DRAWS_QUICK if quick else DRAWS
    accurate = [_compared(pool, seed, name, MAX_ACCURACY) for name in RANGES for seed in range(draws)]
    quickest = [_compared(pool, seed, name, MIN_LATENCY) for name in RANGES for seed in range(draws)]
    return {
        **cuts("latency_cut", quickest),
        **cuts("accuracy_loss_cut", accurate),
        "latency_p95_cut": _cut([(_p95_share(d, d.ours), _p95_share(d, d.whole)) for d in quickest if d.whole]),
        **_beside_peers(accurate),
        "ours_exceeds": _share(bool(d.ours.broken) for d in accurate),
        "whole_models_exceeds": _share(d.whole is None for d in accurate),
        "unequal_to_exhaustive": _unequal(pool, SMALL_DRAWS_QUICK if quick else SMALL_DRAWS),
        **percentiles("decide_stores", [d.took_ms for d in (*accurate, *quickest)]),
    }


def _compared(pool: Pool, seed: int, name: str, objective: str) -> Compared:
    """What everyone chooses in one draw."""
    problem = draw(pool, seed, RANGES[name], objective)
    ours, took_ms = decide(problem, default_solver())
    whole = whole_models(problem)
    peers: dict[str, Plan] = {}
    if objective == MAX_ACCURACY:
        peers = {
            "peer": judged(problem, legodnn(problem)),
            "peer_sharing_time": judged(problem, legodnn(problem, sharing_time=True)),
        }
    return Compared(name, problem, ours, took_ms, None if whole is None else judged(problem, whole), peers)


def judged(problem: Problem, routes: Mapping[str, Route]) -> Plan:
    """What routes come to, whoever chose them, by figures that hold when they are worked out again."""
    plan = predict(problem, routes)
    if wrong := violations(problem, plan):
        raise AssertionError(f"a prediction that does not hold: {'; '.join(wrong)}")
    return plan


def cuts(name: str, draws: Sequence[Compared]) -> dict[str, Figure]:
    """By how much less the objective comes to than with whole models, over all draws and for each range."""
    found = {name: _cut(_values(draws), CUTS[name])}
    return found | {f"{name}_{r}": _cut(_values([d for d in draws if d.range == r])) for r in RANGES}


def _values(draws: Iterable[Compared]) -> list[tuple[float, float]]:
    """Of ours and of whole models, where both keep all limits."""
    kept = ((d, d.whole) for d in draws if d.whole is not None and not d.ours.broken)
    return [(value_of(d.problem, d.ours), value_of(d.problem, whole)) for d, whole in kept]


def _cut(pairs: Sequence[tuple[float, float]], target: float | None = None) -> Figure:
    """By how many percent the sum of the first is below that of the second."""
    ours, theirs = [one for one, _ in pairs], [other for _, other in pairs]
    if sum(theirs) <= 0:
        return Figure(None, "%", reason=f"{len(pairs)} draws in which both keep all limits, and nothing lost in any")
    limit = None if target is None else Target(">=", target)
    return Figure(100 * (1 - sum(ours) / sum(theirs)), "%", limit, {"ours": ours, "theirs": theirs})


def _p95_share(draw_: Compared, plan: Plan | None) -> float:
    """Sum of the apps' 95th percentiles, waits included, as shares of their budgets."""
    assert plan is not None, "asked only where there is one"
    planned = {a.app_id: a.latency_p95_ms for a in plan.apps}
    return sum(planned[a.app.app_id] / a.app.budget_ms for a in draw_.problem.apps)


def _beside_peers(draws: Sequence[Compared]) -> dict[str, Figure]:
    """LegoDNN's choices beside ours; it is never to be the better one, with or without its share of the time."""
    beaten = [worse(d.problem, d.ours, plan) for d in draws for plan in d.peers.values()]
    kept = [(d, plan) for d in draws for plan in d.peers.values() if not plan.broken and not d.ours.broken]
    return {
        "worse_than_peer": Figure(sum(beaten), "draws", Target("<=", 0)),
        "peer_loss_cut": _cut([(plan_loss(d.problem, d.ours), plan_loss(d.problem, plan)) for d, plan in kept]),
        **{f"{who}_exceeds": _share(bool(d.peers[who].broken) for d in draws) for who in ("peer", "peer_sharing_time")},
    }


def _share(those: Iterable[bool]) -> Figure:
    return Figure(100 * statistics.fmean(those), "% of draws")


def _unequal(pool: Pool, draws: int) -> Figure:
    """In how many small problems trying every combination finds something better."""
    found = []
    for seed in range(draws):
        for objective in (MAX_ACCURACY, MIN_LATENCY):
            problem = _small(draw(pool, seed, (1, 2), objective), seed)
            ours, _ = decide(problem, default_solver())
            found.append(worse(problem, ours, exhaustive(problem)))
    return Figure(sum(found), f"of {len(found)} problems", Target("<=", 0))


def _small(problem: Problem, seed: int) -> Problem:
    """The same apps with some options left for each block."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    return replace(problem, apps=tuple(_fewer(rng, app) for app in problem.apps))


def _fewer(rng: random.Random, app: AppOptions) -> AppOptions:
    """The original of each block and others at random."""
    kept = [[0, *rng.sample(range(1, len(block)), min(_SMALL_OPTIONS, len(block)) - 1)] for block in app.blocks]
    blocks = tuple(tuple(block[i] for i in keep) for block, keep in zip(app.blocks, kept, strict=True))
    return replace(app, blocks=blocks, accuracy=None if app.accuracy is None else app.accuracy.keeping(kept))
