"""A board in a few lines: what requests really wait in a queue by earliest deadline that decides again after blocks."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Sequence

from schedulerd.optimizer.problem import AppOptions, Limits, Problem
from tests.optimizer.problems import app_options, option


def latencies_ms(problem: Problem, phases_ms: Sequence[float], horizon_ms: float) -> list[list[float]]:
    """Time from arrival to end of every request, for each app: first blocks' times, periodic from a phase on."""
    apps = problem.apps
    blocks_ms = [[block[0].latency_ms for block in app.blocks] for app in apps]
    arrivals = [(ms, a) for a, app in enumerate(apps) for ms in _times_ms(app, phases_ms[a], horizon_ms)]
    heapq.heapify(arrivals)
    order = itertools.count()
    found: list[list[float]] = [[] for _ in apps]
    waiting: list[tuple[float, int, float, int, int]] = []  # due, order, arrived, app, next block
    running: list[tuple[float, tuple[float, int, float, int, int]]] = []  # end of the block, as in `waiting`
    now_ms = 0.0
    while arrivals or waiting or running:
        while waiting and len(running) < problem.limits.lanes:
            job = heapq.heappop(waiting)
            heapq.heappush(running, (now_ms + blocks_ms[job[3]][job[4]], job))
        if running and (not arrivals or running[0][0] <= arrivals[0][0]):
            now_ms, (due_ms, number, arrived_ms, a, block) = heapq.heappop(running)
            if block + 1 == len(blocks_ms[a]):
                found[a].append(now_ms - arrived_ms)
            else:
                heapq.heappush(waiting, (due_ms, number, arrived_ms, a, block + 1))
        else:
            now_ms, a = heapq.heappop(arrivals)
            heapq.heappush(waiting, (now_ms + apps[a].app.budget_ms, next(order), now_ms, a, 0))
    return found


def p95s_ms(problem: Problem, seed: int, *, runs: int = 12, horizon_ms: float = 1200.0) -> list[float]:
    """95th percentile of each app's latency over runs that differ in their phases."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    pooled: list[list[float]] = [[] for _ in problem.apps]
    for _ in range(runs):
        phases_ms = [rng.uniform(0.0, 1000.0 / app.app.rate_hz) for app in problem.apps]
        for all_ms, run_ms in zip(pooled, latencies_ms(problem, phases_ms, horizon_ms), strict=True):
            all_ms += run_ms
    return [sorted(all_ms)[math.ceil(0.95 * len(all_ms)) - 1] for all_ms in pooled]


def random_board(seed: int, lanes: int = 1) -> Problem:
    """Apps of one route each at 40 to 80% load, rates of cameras, budgets from tight to roomy. Overhead is 0."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    count = rng.randint(2, 5) * lanes
    weights = [rng.uniform(0.1, 1.0) for _ in range(count)]
    load = lanes * rng.uniform(0.4, 0.8)
    apps = []
    for a, weight in enumerate(weights):
        period_ms = 1000.0 / rng.choice([1.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0])
        route_ms = period_ms * load * weight / sum(weights)
        parts = [rng.uniform(0.2, 1.2) for _ in range(rng.randint(2, 6))]
        blocks = tuple((option(f"a{a}b{b}", route_ms * p / sum(parts), 0.0),) for b, p in enumerate(parts))
        budget_ms = max(1.2 * route_ms, rng.choice([route_ms, route_ms, period_ms]) * rng.uniform(1.2, 5.0))
        apps.append(app_options(f"a{a}", blocks, budget_ms=budget_ms, rate_hz=1000.0 / period_ms))
    return Problem(tuple(apps), Limits(memory_bytes=10**12, utilisation_cap=0.8, lanes=lanes, overhead_ms=0.0))


def _times_ms(app: AppOptions, phase_ms: float, horizon_ms: float) -> list[float]:
    period_ms = 1000.0 / app.app.rate_hz
    return [phase_ms + n * period_ms for n in range(math.ceil((horizon_ms - phase_ms) / period_ms))]
