"""Widths: rounded up where that is measured no slower."""

from __future__ import annotations

import pytest
from torch import fx, nn

from blockstore.build.kinds.base import Material
from blockstore.build.kinds.widths import NOISE, quicker, round_up
from tests.blockstore.build.kinds.reshaping import INPUT


@pytest.mark.parametrize(("width", "multiple", "rounded"), [(1, 8, 8), (8, 8, 8), (9, 8, 16), (5, 1, 5)])
def test_widths_are_rounded_up(width: int, multiple: int, rounded: int) -> None:
    assert round_up(width, multiple) == rounded


@pytest.mark.parametrize(
    ("aligned_ms", "chosen", "share"),
    [(0.9, "aligned", 0.9), (1.0, "aligned", 1.0), (1 + NOISE, "aligned", 1 + NOISE), (1.1, "exact", 1.1)],
)
def test_the_aligned_one_is_taken_unless_it_is_slower_by_more_than_noise(
    aligned_ms: float, chosen: str, share: float
) -> None:
    exact, aligned = fx.symbolic_trace(nn.ReLU()), fx.symbolic_trace(nn.ReLU())
    latencies = {id(exact): 1.0, id(aligned): aligned_ms}
    material = Material(lambda: iter(()), lambda _: 0.0, lambda modules, _: [latencies[id(m)] for m in modules], 8, 0)
    taken, facts = quicker(exact, aligned, INPUT, material)
    assert taken is (aligned if chosen == "aligned" else exact)
    assert facts == {"widths": chosen, "aligned_latency_share": share}
