"""Movement: what only moves elements stays exact for any batch, and channel shuffles become slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from blockstore.build.onnximport.importer import import_onnx
from tests.blockstore.build.onnximport.files import expected, file, frames, node


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def moved(nodes: list[Any], **constants: Any) -> list[tuple[str, Any]]:
    """The operators that `nodes` become, after checking that they compute the same for three frames."""
    content = file(nodes, constants)
    network = import_onnx(content)
    (wanted,) = expected(content, frames(3))
    torch.testing.assert_close(network(frames(3)), wanted)
    return [
        (node.target.__name__, node.args[1])
        for node in network.graph.nodes
        if node.op == "call_function" and not isinstance(node.target, str)
    ]


SHUFFLE = [
    node("Reshape", ["x", "parted"], ["a"]),
    node("Transpose", ["a"], ["b"], perm=[1, 0, 2]),
    node("Reshape", ["b", "joined"], ["c"]),
]


@pytest.mark.parametrize(("which", "index"), [(0, slice(None, None, 2)), (1, slice(1, None, 2))])
def test_the_shuffle_of_shufflenet_is_a_slice_of_every_second_channel(which: int, index: slice) -> None:
    chosen = np.array(which, np.int64)
    made = moved(
        [*SHUFFLE, node("Gather", ["c", "which"], axis=0)],
        parted=ints(2, 2, 36),
        joined=ints(2, -1, 2, 6, 6),
        which=chosen,
    )
    assert made == [("getitem", (slice(None), index))]


def test_slices_of_slices_are_one_slice() -> None:
    first = node("Slice", ["x", "one", "four", "axis"], ["a"])
    second = node("Slice", ["a", "one", "four", "axis", "two"])
    made = moved([first, second], one=ints(1), four=ints(4), axis=ints(1), two=ints(2))
    assert made == [("getitem", (slice(None), slice(2, 3)))]


def test_moving_there_and_back_is_nothing() -> None:
    there, back = node("Transpose", ["r"], ["a"], perm=[0, 2, 3, 1]), node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2])
    assert moved([node("Relu", outputs=["r"]), there, back, node("Sigmoid", ["b"])]) == []


def test_other_orders_of_channels_are_reshaped_with_a_free_batch() -> None:
    made = moved(
        [
            node("Reshape", ["x", "parted"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["b", "joined"]),
        ],
        parted=ints(1, 2, 2, 6, 6),
        joined=ints(1, 4, 6, 6),
    )
    assert made == [("reshape", (-1, 2, 2, 6, 6)), ("permute", (0, 2, 1, 3, 4)), ("reshape", (-1, 4, 6, 6))]


def test_flattening_names_no_number_of_channels() -> None:
    assert moved([node("Reshape", ["x", "shape"])], shape=ints(1, 144)) == [("flatten", 1)]


def test_a_batch_that_moves_is_followed() -> None:
    made = moved(
        [
            node("Transpose", outputs=["a"], perm=[1, 0, 2, 3]),
            node("Reshape", ["a", "shape"], ["b"]),
            node("Transpose", ["b"], perm=[1, 0, 2]),
        ],
        shape=ints(4, 1, 36),
    )
    assert made == [("permute", (1, 0, 2, 3)), ("reshape", (4, -1, 36)), ("permute", (1, 0, 2))]
