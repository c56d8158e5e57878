"""Explain: the rows from which `schedulerd build --explain` is printed."""

from __future__ import annotations

from torch import fx

from blockstore.block import TensorSpec
from blockstore.build.cut import cut_at
from blockstore.build.explain import explain
from blockstore.build.legal_cuts import legal_cuts
from tests.blockstore.build import networks


def by_height(_: fx.GraphModule, spec: TensorSpec) -> float:
    return float(spec.shape[0])


def test_a_row_tells_what_a_block_consists_of_and_costs() -> None:
    traced = networks.traced(networks.residual())
    told = explain(traced, cut_at(traced, ["3"]), by_height)
    first, second = told.blocks
    assert (first.index, first.name, second.name) == (0, "0..3.conv2", "4.conv1..8")
    assert first.operators == {"Conv2d": 3, "relu": 2, "Preprocess": 1, "ReLU": 1, "add": 1}
    # 3x3 convolutions of 3 -> 8 (its normalisation folded into a bias) and twice 8 -> 8, on 12x12.
    assert first.parameters == 3 * 8 * 9 + 8 + 2 * (8 * 8 * 9 + 8)
    assert first.multiply_adds >= 144 * (3 * 8 * 9 + 2 * 8 * 8 * 9)
    assert (first.input, first.output, second.input) == (
        networks.FRAMES,
        second.input,
        TensorSpec("float32", (8, 12, 12)),
    )
    assert (first.latency_ms, second.latency_ms) == (12.0, 8.0)
    assert told.cuts == legal_cuts(traced)
    assert told.obstacle is None


def test_constants_and_sizes_are_no_operators() -> None:
    traced = networks.traced(networks.ReadsSizes().eval())
    (row,) = explain(traced, cut_at(traced, []), by_height).blocks
    assert not {"scale", "network.scale", "size"} & row.operators.keys()
    assert row.operators["Conv2d"] == 2


def test_several_outputs_are_listed() -> None:
    traced = networks.traced(networks.Heads().eval())
    told = explain(traced, cut_at(traced, []), by_height)
    assert told.outputs == traced.outputs
    assert told.blocks[0].output == traced.output
