"""A finished build: what can be read off it."""

from __future__ import annotations

from dataclasses import replace

from blockstore.accuracy_model import LINEAR, AccuracyModel
from blockstore.blobs import digest_of
from blockstore.build.built import Built
from tests.blockstore.samples import sample

KNOWN = AccuracyModel(LINEAR, 0.9, 0.0, 0.0, ((0.0, 0.1), (0.0, 0.3)), (), None, ())
BUILT = Built(sample(digest_of), KNOWN, ((3.0, 1.0), (2.0, 2.5)), left_out=(), costs=(), obstacle=None)


def test_combinations_are_all_choices_of_a_variant_for_each_block() -> None:
    assert BUILT.combinations == 4


def test_the_latency_of_a_route_is_the_sum_of_its_blocks() -> None:
    assert BUILT.latency_ms((1, 0)) == 3.0
    assert BUILT.latency_ms((0, 1)) == 5.5


def test_the_front_has_what_nothing_beats_and_is_empty_without_latencies() -> None:
    assert [(p.route, p.latency_ms) for p in BUILT.front()] == [((1, 0), 3.0), ((0, 0), 5.0)]
    assert replace(BUILT, latencies_ms=()).front() == ()
