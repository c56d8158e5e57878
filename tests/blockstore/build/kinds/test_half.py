"""Half: which layers there are to convert, and what rounding does to them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from blockstore import torchform
from blockstore.build.kinds import half
from blockstore.build.kinds.base import Declined
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.encoded import bench


class Twice(nn.Module):
    """One layer runs twice, and one is there that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.idle, self.last, self.first = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.first(self.first(x)))
        return y


def test_layers_are_named_once_in_the_order_in_which_they_run() -> None:
    assert half.layers_of(fx.symbolic_trace(Twice())) == ("first", "last")


def test_rounded_weights_are_numbers_that_half_precision_has_and_the_others_stay() -> None:
    module = bench(networks.plain).block.module
    first, *others = half.layers_of(module)
    narrow = half.rounded(module, [first])
    assert len(others) == 6
    for name in (first, *others):
        weight, before = narrow.get_parameter(f"{name}.weight"), module.get_parameter(f"{name}.weight")
        assert weight.dtype == torch.float32
        assert torch.equal(weight, before.half().float() if name == first else before)


@pytest.mark.parametrize("weight", [7e4, float("inf"), float("nan")])
def test_a_weight_that_half_precision_lacks_is_a_reason(weight: float) -> None:
    module = fx.symbolic_trace(Twice())
    with torch.no_grad():
        module.get_parameter("last.bias")[1] = weight
    with pytest.raises(Declined, match=r"bias of last reaches .*, FP16 ends at 65504"):
        half.rounded(module, ["first", "last"])


def test_some_layers_in_half_precision_are_counted_and_computed_alike_in_both_forms() -> None:
    tested = bench(networks.plain)
    chosen = half.layers_of(tested.block.module)[3:]
    made = half.encode(tested.block, tested.block.module, chosen, tested.forms, tested.material, {"note": 1})
    assert made.facts["layers"] == 7
    assert made.facts["layers_converted"] == 4
    assert made.facts["note"] == 1
    assert made.forms.torch is not None
    frames = networks.frames(3, seed=4)
    expected = half.rounded(tested.block.module, chosen)(frames)
    assert torch.allclose(torchform.load(made.forms.torch)(frames), expected, atol=1e-5)
