"""A route with merged sessions: what takes the place of which blocks, and what is expected of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.plan import Route
from schedulerd.serving.merged import MergedRun, with_merged
from schedulerd.serving.route import ExpectedBlock, LoadedRoute
from tests.serving.parts import AddBlock, SureHead, exit_of, route_with

BLOCKS = tuple(AddBlock(float(n)) for n in range(5))
EXPECTED = tuple(ExpectedBlock(n, (name,), "onnxruntime", 1.0, 2.0, 3.0) for n, name in enumerate("abcde"))
PLAIN = LoadedRoute(Route("m", tuple("abcde"), tuple("abcde")), BLOCKS, 7, 0.9, EXPECTED, soonest_s=0.005)
SESSION = AddBlock(100.0)


def test_each_run_becomes_one_block_and_the_others_stay() -> None:
    other = AddBlock(200.0)
    merged = with_merged(PLAIN, [MergedRun(0, 1, SESSION), MergedRun(3, 4, other)])
    assert merged.blocks == (SESSION, BLOCKS[2], other)
    assert [(e.first, e.last, "".join(e.digests)) for e in merged.expected] == [(0, 1, "ab"), (2, 2, "c"), (3, 4, "de")]
    assert (merged.route, merged.plan, merged.accuracy) == (PLAIN.route, 7, 0.9)


def test_what_is_expected_of_a_session_is_what_its_blocks_come_to() -> None:
    (block,) = with_merged(PLAIN, [MergedRun(0, 4, SESSION)]).expected
    assert (block.median_ms, block.cold_ms, block.p95_ms) == pytest.approx((5.0, 10.0, 15.0))


def test_the_plain_route_is_pinned_on_its_own() -> None:
    merged = with_merged(PLAIN, [MergedRun(0, 4, SESSION)])
    merged.pins.take()
    assert PLAIN.pins.drained


def test_a_route_with_exits_is_refused() -> None:
    route = route_with(exit_of(0, SureHead()), blocks=BLOCKS[:2])
    with pytest.raises(ValueError, match="has exits"):
        with_merged(route, [MergedRun(0, 1, SESSION)])


def test_a_route_that_is_merged_already_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be merged"):
        with_merged(replace(PLAIN, blocks=BLOCKS[:3]), [MergedRun(0, 1, SESSION)])
