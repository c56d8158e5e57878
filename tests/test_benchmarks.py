"""The parts of the benchmarks that published figures hang on: which route is chosen, and what the baseline is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.exits_fronts import Point, at_drop
from benchmarks.exits_study import Heads
from benchmarks.harness import jiffies, stolen_share
from benchmarks.search import most_accurate, peers_choice
from benchmarks.storebuild import measured
from benchmarks.wholemodel import pruned
from blockstore.accuracy_model import LINEAR, AccuracyModel
from blockstore.build.exits.insertion import Costs
from blockstore.build.exits.policies import Outcome
from blockstore.build.exits.seen import Seen
from blockstore.zoo.resnet import CifarResNet

MS = ((4.0, 2.0, 1.0), (6.0, 3.0))
KNOWN = AccuracyModel(LINEAR, 0.9, 0.0, 0.0, ((0.0, 0.02, 0.3), (0.0, 0.05)), (), None, ())


def test_the_most_accurate_route_within_the_limit_is_chosen_or_the_quickest() -> None:
    def within(limit_ms: float) -> tuple[int, ...]:
        return tuple(most_accurate(KNOWN, MS, limit_ms, lambda *_: True))

    assert [within(ms) for ms in (10.0, 9.0, 7.0, 5.0, 4.5, 1.0)] == [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (2, 1)]


def test_variants_that_are_not_allowed_are_not_chosen() -> None:
    assert tuple(most_accurate(KNOWN, MS, 9.0, lambda block, variant: (block, variant) != (0, 1))) == (0, 1)


def test_the_peer_adds_up_isolated_times_and_drops() -> None:
    assert tuple(peers_choice(KNOWN.damages, MS, 0.7)) == (0, 1)
    assert tuple(peers_choice(KNOWN.damages, MS, 0.1)) == (2, 1)


def test_a_network_pruned_to_all_its_widths_is_the_network() -> None:
    torch.manual_seed(0)
    network, frames = CifarResNet(20).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(frames)
        assert torch.allclose(pruned(network, (16, 32, 64))(frames), expected, atol=1e-5)
        narrow = pruned(network, (8, 16, 32)).eval()(frames)
    assert narrow.shape == expected.shape
    assert not torch.allclose(narrow, expected, atol=1e-3)


def test_a_network_that_cannot_be_measured_has_the_reason_for_each_figure() -> None:
    def fails() -> dict[str, object]:
        raise TimeoutError("too long")

    found = measured("tiny", ("tiny_a", "tiny_b"), fails)  # type: ignore[arg-type]  # it gives nothing
    assert {name: (f.value, f.reason) for name, f in found.items()} == dict.fromkeys(
        ("tiny_a", "tiny_b"), (None, "TimeoutError: too long")
    )


def a_point(drop: float, cost: float) -> Point:
    """What a choice of thresholds does to 1000 test images, all of which the whole network answers well."""
    seen = Seen(np.zeros((0, 1000)), np.ones((1, 1000)))
    heads = Heads([], [], [], Costs((1.0,), ()), seen, seen, seen)
    result = Outcome((1.0,), 1.0 - drop, cost)
    return Point(0.0, heads, (), result, result)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.002, 0.9), (0.004, 0.8), (0.008, 0.6)], 0.75),
        ([(-0.001, 0.95), (0.004, 0.8)], 0.8),  # never as much lost: the cheapest that there is
        ([(0.01, 0.5)], 0.75),  # half way from no exits at all
        ([(0.002, 0.7), (0.004, 0.8), (0.01, 0.6)], 0.7 - 0.1 * 3 / 8),  # what loses more and costs more is no choice
        ([], 1.0),
    ],
)
def test_methods_are_compared_where_they_lose_the_same(points: list[tuple[float, float]], expected: float) -> None:
    assert at_drop([a_point(*p) for p in points], 0.005, 1.0) == pytest.approx(expected)


def test_a_host_that_gives_cores_away_is_in_the_figures() -> None:
    before = (100, 0, 50, 1000, 10, 0, 0, 5)
    assert stolen_share(before, (160, 0, 70, 1900, 20, 0, 0, 25)) == pytest.approx(20 / 100)
    assert stolen_share(before, before) == 0.0
    assert stolen_share((), ()) is None
    assert stolen_share(jiffies(), jiffies()) is not None
