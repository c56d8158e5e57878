"""Outputs: what a network gives leaves it as one tensor, and can be taken apart again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from blockstore.block import TensorSpec
from blockstore.errors import CannotCut
from blockstore.outputs import unpack
from tests.blockstore.build import networks


def test_several_outputs_leave_side_by_side_in_one_tensor() -> None:
    network = networks.Heads().eval()
    traced = networks.traced(network)
    frames = networks.frames(3)
    given = network(networks.PREPROCESS(frames))
    expected = (*given["boxes"], *given["scores"])
    assert [spec.shape for spec in traced.outputs] == [(4, 12, 12), (4, 6, 6), (2,), ()]
    assert traced.output == TensorSpec("float32", (4 * 144 + 4 * 36 + 2 + 1,))
    for got, wanted in zip(unpack(traced.module(frames).numpy(), traced.outputs), expected, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)


def test_the_only_output_is_left_as_it_is() -> None:
    traced = networks.traced(networks.residual())
    assert traced.outputs == (traced.output,) == (TensorSpec("float32", (4,)),)


def test_the_parts_of_a_split_tensor_are_outputs() -> None:
    class Splits(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return x.split([1, 2], 1)

    assert [spec.shape for spec in networks.traced(Splits()).outputs] == [(1, 12, 12), (2, 12, 12)]


class _Returns(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x.mean((0, 2, 3)), "does not have one row for each frame"),
        (lambda x: (x, x.sum()), "does not have one row for each frame"),
        (lambda x: x.size(1), "is a int and not a tensor"),
        (lambda x: None, "returns no tensor"),
        (lambda x: [x] * 33, "33 tensors; the limit is 32"),
    ],
)
def test_what_is_no_output_for_each_frame_is_refused(make: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(CannotCut, match=message):
        networks.traced(_Returns(make))
