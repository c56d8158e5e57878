"""The Pareto front against looking at every combination."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from blockstore.build.front import best_within, pareto_front

Table = list[list[tuple[int, int]]]
# Whole numbers add up without rounding, so that both ways of looking agree to the last bit.
tables = st.lists(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=4), min_size=1, max_size=4
)


def columns(table: Table) -> tuple[list[list[float]], list[list[float]]]:
    return [[float(ms) for ms, _ in row] for row in table], [[float(d) for _, d in row] for row in table]


def combinations(table: Table) -> set[tuple[float, float]]:
    return {(float(sum(ms for ms, _ in c)), float(sum(d for _, d in c))) for c in itertools.product(*table)}


@given(tables)
def test_exactly_the_combinations_that_nothing_beats_are_kept(table: Table) -> None:
    every = combinations(table)
    unbeaten = {(ms, d) for ms, d in every if not any((a <= ms and b <= d) and (a, b) != (ms, d) for a, b in every)}
    assert {(p.latency_ms, p.damage) for p in pareto_front(*columns(table))} == unbeaten


@given(tables)
def test_a_point_is_what_its_route_adds_up_to(table: Table) -> None:
    for point in pareto_front(*columns(table)):
        chosen = [table[block][variant] for block, variant in enumerate(point.route)]
        assert (sum(ms for ms, _ in chosen), sum(d for _, d in chosen)) == (point.latency_ms, point.damage)


@given(tables, st.integers(0, 40))
def test_the_least_damage_within_a_latency_is_found(table: Table, limit_ms: int) -> None:
    point = best_within(pareto_front(*columns(table)), limit_ms)
    within = [d for ms, d in combinations(table) if ms <= limit_ms]
    assert (point.damage if point else None) == (min(within) if within else None)
