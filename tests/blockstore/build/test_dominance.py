"""Dominance: who is dropped, and who is said to be better."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blockstore.build.dominance import Candidate, dominated

BOTH = frozenset({"onnxruntime", "torch"})


def candidate(
    name: str, latency_ms: float, size_bytes: int, damage: float, engines: frozenset[str] = BOTH
) -> Candidate:
    return Candidate(name, latency_ms, size_bytes, damage, engines)


ORIGINAL = candidate("original", 2.0, 100, 0.0)
numbers = st.integers(0, 3)
candidates = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=6).map(
    lambda rows: [candidate(str(i), *row) for i, row in enumerate(rows)]
)


def test_slower_larger_and_worse_goes() -> None:
    good, bad = candidate("good", 1.0, 50, 0.01), candidate("bad", 1.5, 60, 0.02)
    assert dominated([ORIGINAL, good, bad]) == {"bad": "good"}


def test_what_another_engine_runs_stays_although_a_variant_that_it_lacks_is_better() -> None:
    int8 = candidate("int8", 1.0, 50, 0.01, frozenset({"onnxruntime"}))
    pruned = candidate("prune:0.5", 1.5, 60, 0.02)
    assert dominated([ORIGINAL, int8, pruned]) == {}
    assert dominated([ORIGINAL, pruned, candidate("half", 1.0, 50, 0.01)]) == {"prune:0.5": "half"}


def test_better_in_one_thing_stays() -> None:
    small, quick = candidate("small", 1.5, 20, 0.02), candidate("quick", 1.0, 50, 0.02)
    assert dominated([ORIGINAL, small, quick]) == {}


def test_a_difference_that_another_measurement_may_turn_round_drops_nobody() -> None:
    good, as_quick = candidate("good", 1.0, 50, 0.01), candidate("as quick", 1.01, 60, 0.02)
    assert dominated([ORIGINAL, good, as_quick]) == {}
    assert dominated([ORIGINAL, good, candidate("slower", 1.1, 60, 0.02)]) == {"slower": "good"}


def test_the_original_stays_although_a_variant_beats_it() -> None:
    assert dominated([ORIGINAL, candidate("better", 1.0, 50, 0.0)]) == {}


def test_of_two_equal_ones_both_stay() -> None:
    assert dominated([ORIGINAL, candidate("a", 1.0, 50, 0.1), candidate("b", 1.0, 50, 0.1)]) == {}


@given(candidates)
def test_who_is_named_as_better_stays_and_is_better(variants: list[Candidate]) -> None:
    known = {v.name: v for v in variants}
    losers = dominated(variants)
    assert all(winner not in losers and known[winner].beats(known[loser]) for loser, winner in losers.items())
    assert variants[0].name not in losers
