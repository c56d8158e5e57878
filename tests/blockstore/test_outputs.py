"""Outputs: how what the last block gives is taken apart again."""

from __future__ import annotations

import numpy as np

from blockstore.block import TensorSpec
from blockstore.outputs import unpack

BOXES, SCORES = TensorSpec("float32", (2, 4)), TensorSpec("float32", (2,))


def test_a_packed_tensor_is_taken_apart_without_a_copy() -> None:
    packed = np.arange(20, dtype=np.float32).reshape(2, 10)
    boxes, scores = unpack(packed, (BOXES, SCORES))
    np.testing.assert_array_equal(boxes, packed[:, :8].reshape(2, 2, 4))
    np.testing.assert_array_equal(scores, packed[:, 8:])
    assert np.shares_memory(boxes, packed)
    assert np.shares_memory(scores, packed)


def test_one_output_is_the_tensor_itself() -> None:
    packed = np.zeros((1, 3, 2), np.float32)
    assert unpack(packed, ())[0] is packed
