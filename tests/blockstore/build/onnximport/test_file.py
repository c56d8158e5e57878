"""Reading: what is no network of one image is refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from blockstore.build.onnximport.file import OPSETS, read
from blockstore.errors import CannotBuild
from tests.blockstore.build.onnximport.files import file, node, weights

SOUND = file([node("Relu")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no sound ONNX file"),
        (b"not an ONNX file at all", "no sound ONNX file"),
        (SOUND[: len(SOUND) // 2], "no sound ONNX file"),
        (file([node("Relu", ["w"])]), "no sound ONNX file"),
        (file([node("Relu")], opset=8), f"opset 8; {OPSETS.start} to {OPSETS.stop - 1} are read"),
        (file([node("Relu")], opset=21), "opset 21"),
        (file([node("Add", ["x", "z"])], inputs=["x", "z"]), r"2 inputs \('x', 'z'\); one image"),
        (file([node("Relu")], shape=(1, 3, "height", 8)), "1x3xheightx8.*size of the image is free"),
        (file([node("Relu")], shape=(4, 3, 8, 8)), "its batch is 4"),
        (file([node("Relu")], shape=(1, 300)), r"float\[1x300\]; float\[batch x channels x h x w\] is supported"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_is_not_a_network_of_one_image_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        read(content)


def test_a_path_is_named_in_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match=r"cannot read .*absent\.onnx"):
        read(tmp_path / "absent.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    with pytest.raises(CannotBuild, match=r"bad\.onnx is no sound ONNX file"):
        read(tmp_path / "bad.onnx")


def test_a_free_batch_is_one_frame(tmp_path: Path) -> None:
    (tmp_path / "free.onnx").write_bytes(file([node("Relu")], shape=("batch", 3, 8, 6)))
    found = read(tmp_path / "free.onnx")
    assert (found.input, found.frame, found.outputs) == ("x", (1, 3, 8, 6), ("y",))


def test_constants_among_the_inputs_are_no_inputs() -> None:
    model = onnx.load_from_string(file([node("Conv", ["x", "w"])], {"w": weights(4, 4, 1, 1)}))
    model.graph.input.append(helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 4, 1, 1]))
    found = read(model.SerializeToString())
    assert found.input == "x"
    assert found.constants.keys() == {"w"}


def test_only_nodes_that_an_output_needs_are_kept() -> None:
    found = read(file([node("Relu", outputs=["a"]), node("Abs", outputs=["b"]), node("Neg", ["a"])]))
    assert [n.op_type for n in found.nodes] == ["Relu", "Neg"]
