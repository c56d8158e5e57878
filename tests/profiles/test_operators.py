"""The operators of real ONNX blobs, as onnxruntime runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockprofiles.errors import CannotRun
from blockprofiles.operators import Operator, operators_of, whole
from blockstore.block import Artifact, TensorSpec
from tests.profiles import tiny


def operators(data: bytes, folder: Path) -> tuple[Operator, ...]:
    path = folder / "blob"
    path.write_bytes(data)
    return operators_of(path)


def test_a_convolution_has_the_multiply_adds_and_bytes_that_it_computes_with(tmp_path: Path) -> None:
    weights = np.ones((16, 16, 3, 3), np.float32)
    (convolution,) = (o for o in operators(tiny.convolution(weights, side=8), tmp_path) if "Conv" in o.type)
    assert convolution.type.endswith("spatial")
    assert convolution.multiply_adds == 16 * 16 * 9 * 8 * 8
    assert convolution.weight_bytes == weights.nbytes
    assert convolution.moved_bytes == 4 * 2 * 16 * 8 * 8
    assert convolution.output_width == 8


def test_an_activation_that_is_fused_into_a_convolution_is_no_operator(tmp_path: Path) -> None:
    types = [operator.type for operator in operators(tiny.stem(16), tmp_path)]
    assert "Relu" not in types
    assert "Transpose" in types
    assert sum("Conv" in name for name in types) == 2


def test_a_head_that_takes_two_tensors_has_operators(tmp_path: Path) -> None:
    read = operators(tiny.exit_head(2), tmp_path)
    product = next(o for o in read if o.type in ("MatMul", "Gemm", "FusedMatMul"))
    assert product.multiply_adds == 4 * 4
    assert product.weight_bytes == 4 * 4 * 4
    assert (product.inputs, product.outputs) == (4, 4)


def test_a_wider_block_has_more_work(tmp_path: Path) -> None:
    wide, narrow = (sum(o.multiply_adds for o in operators(tiny.head(width), tmp_path)) for width in (64, 16))
    assert wide == 4 * narrow


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    operators(tiny.stem(4), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


def test_a_file_that_cannot_be_read_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"operators of .*blob cannot be read: .*; build its model again"):
        operators(b"not a graph", tmp_path)


def test_a_block_as_one_operator_has_what_its_manifest_says() -> None:
    frame, features = TensorSpec("uint8", (8, 8, 1)), TensorSpec("float32", (4, 8, 8))
    (one,) = whole(Artifact("torch", "d", 1234), "float", [frame], features, 99)
    assert one == Operator("Whole/torch/float", 64, 256, 64 + 1024, 1234, 99)
