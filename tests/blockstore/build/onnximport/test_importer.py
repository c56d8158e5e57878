"""Import: every operator computes what onnxruntime computes with the file, for any number of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import fx, nn

from blockstore import torchform
from blockstore.block import TensorSpec
from blockstore.build.cut import cut
from blockstore.build.onnximport.importer import CONVERTERS, import_onnx
from blockstore.build.trace import trace
from blockstore.errors import CannotBuild, UnsupportedOperator
from blockstore.zoo.preprocess import Preprocess
from tests.blockstore.build.onnximport.files import expected, file, frames, node, weights

MODELS: Final = Path(__file__).resolve().parents[5] / "shared" / "models"


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


def one(operator: str, constants: dict[str, Any] | None = None, opset: int = 17, **attributes: Any) -> bytes:
    """A file of one operator on `x`; `constants` are its other inputs, in order, and None leaves one out."""
    given = constants or {}
    inputs = ["x", *("" if value is None else name for name, value in given.items())]
    present = {name: value for name, value in given.items() if value is not None}
    return file([node(operator, inputs, **attributes)], present, opset=opset)


STATISTICS: Final = {"g": weights(4), "b": weights(5)[:4], "m": weights(6)[:4], "v": np.abs(weights(7)[:4]) + 0.5}
LINEAR: Final = node("GlobalAveragePool", outputs=["p"]), node("Flatten", ["p"], ["f"])
SOFTMAX_OF_SIZES: Final = [
    node("Shape", outputs=["s"]),
    helper.make_node("Constant", [], ["one"], value_ints=[1]),
    helper.make_node("Gather", ["s", "one"], ["channels"]),
    helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
    helper.make_node("Constant", [], ["first"], value_ints=[0]),
    helper.make_node("Concat", ["first", "channels", "rest"], ["wanted"], axis=0),
    node("Reshape", ["x", "wanted"], ["r"]),
    node("Softmax", ["r"], axis=-1),
]

FILES: Final = {
    "Abs": one("Abs"),
    "Add": file([node("Add", ["x", "x"])]),
    "Add a constant": one("Add", {"c": weights(4, 1, 1)}),
    "Add a number": one("Add", {"c": floats(0.5)}),
    "AveragePool": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool counted": one("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
    "BatchNormalization": one("BatchNormalization", STATISTICS),
    "Cast": one("Cast", to=onnx.TensorProto.FLOAT),
    "Clip to 6": one("Clip", {"low": floats(0)[0], "high": floats(6)[0]}),
    "Clip below": one("Clip", {"low": floats(0)[0]}),
    "Clip above": one("Clip", {"low": None, "high": floats(0.5)[0]}),
    "Clip of nothing": one("Clip"),
    "Clip by attributes": one("Clip", opset=9, min=0.2, max=0.6),
    "Concat": file([node("Relu", outputs=["r"]), node("Concat", ["x", "r"], axis=1)]),
    "Conv": one("Conv", {"w": weights(8, 4, 3, 3), "b": weights(8)}, pads=[1, 1, 1, 1], strides=[2, 2]),
    "Conv grouped": one("Conv", {"w": weights(4, 1, 3, 3)}, group=4, dilations=[2, 2], pads=[2, 2, 2, 2]),
    "Conv on one side": one("Conv", {"w": weights(8, 4, 3, 3)}, pads=[0, 1, 2, 0]),
    "Conv same": one("Conv", {"w": weights(8, 4, 2, 3)}, auto_pad="SAME_UPPER", strides=[2, 1]),
    "Conv valid": one("Conv", {"w": weights(8, 4, 3, 3)}, auto_pad="VALID"),
    "ConvTranspose": one(
        "ConvTranspose",
        {"w": weights(4, 3, 3, 3), "b": weights(3)},
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    ),
    "DepthToSpace": one("DepthToSpace", blocksize=2, mode="CRD"),
    "Div": one("Div", {"c": weights(1, 4, 1, 1) + 2}),
    "Div of a number": file([node("Div", ["c", "x"])], {"c": floats(2)}),
    "Dropout": one("Dropout"),
    "Elu": one("Elu", alpha=0.7),
    "Erf": one("Erf"),
    "Exp": one("Exp"),
    "Flatten": one("Flatten"),
    "Gather channels": one("Gather", {"i": ints(3, 1, 0)}, axis=1),
    "Gather a row": one("Gather", {"i": np.array(-2, np.int64)}, axis=2),
    "Gelu": one("Gelu", opset=20, approximate="tanh"),
    "Gemm": file([*LINEAR, node("Gemm", ["f", "w", "b"], transB=1, alpha=0.5)], {"w": weights(3, 4), "b": weights(3)}),
    "Gemm plain": file([*LINEAR, node("Gemm", ["f", "w"])], {"w": weights(4, 3)}),
    "GlobalAveragePool": one("GlobalAveragePool"),
    "GlobalMaxPool": one("GlobalMaxPool"),
    "HardSigmoid": one("HardSigmoid"),
    "HardSigmoid of torch": one("HardSigmoid", alpha=1 / 6, beta=0.5),
    "HardSwish": one("HardSwish"),
    "Identity": one("Identity"),
    "LeakyRelu": one("LeakyRelu", alpha=0.2),
    "MatMul": one("MatMul", {"w": weights(6, 5)}),
    "MatMul of values": file([node("MatMul", ["x", "x"])]),
    "MaxPool": one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    "MaxPool on one side": one("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]),
    "Mish": one("Mish", opset=18),
    "Mul": file([node("Sigmoid", outputs=["s"]), node("Mul", ["x", "s"])]),
    "Neg": one("Neg"),
    "PRelu": one("PRelu", {"s": weights(4, 1, 1)}),
    "Pad": one("Pad", {"p": ints(0, 0, 1, 0, 0, 0, 2, 1), "v": floats(0.5)[0]}),
    "Pad by attributes": one("Pad", opset=9, pads=[0, 0, 0, 1, 0, 0, 0, 1], value=2.0),
    "Pad by reflection": one("Pad", {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}, mode="reflect"),
    "Pad of nothing": one("Pad", {"p": ints(0, 0, 0, 0, 0, 0, 0, 0)}),
    "Pow": one("Pow", {"c": floats(2)[0]}),
    "ReduceMax": one("ReduceMax", axes=[1]),
    "ReduceMean": one("ReduceMean", axes=[2, 3], keepdims=0),
    "ReduceMean by input": one("ReduceMean", {"a": ints(2, 3)}, opset=18),
    "ReduceSum": one("ReduceSum", {"a": ints(-1)}, keepdims=0),
    "Relu": one("Relu"),
    "Reshape": one("Reshape", {"s": ints(1, 2, 72)}),
    "Reshape to itself": one("Reshape", {"s": ints(1, 4, 6, 6)}),
    "Reshape to what Shape says": file(SOFTMAX_OF_SIZES),
    "Resize": one(
        "Resize",
        {"r": None, "s": floats(1, 1, 2, 2)},
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    "Resize to sizes": one("Resize", {"r": None, "f": None, "s": ints(1, 4, 9, 11)}, mode="linear"),
    "Sigmoid": one("Sigmoid"),
    "Slice": one("Slice", {"a": ints(1, 0), "b": ints(100, -1), "d": ints(1, 3), "s": ints(2, 1)}),
    "Slice by attributes": one("Slice", opset=9, starts=[1], ends=[3], axes=[2]),
    "Slice of everything": one("Slice", {"a": ints(0), "b": ints(100), "d": ints(1)}),
    "Softmax": one("Softmax", axis=1),
    "Softmax of opset 11": one("Softmax", opset=11, axis=3),
    "Softplus": one("Softplus"),
    "Split": file(
        [node("Split", ["x", "s"], ["a", "b"], axis=1), node("Concat", ["b", "a"], axis=1)], {"s": ints(1, 3)}
    ),
    "Split evenly": file([node("Split", ["x"], ["a", "b"], axis=1), node("Sub", ["a", "b"])], opset=11),
    "Sqrt": one("Sqrt"),
    "Squeeze": file([node("GlobalMaxPool", outputs=["p"]), node("Squeeze", ["p", "a"])], {"a": ints(2, 3)}),
    "Sub": one("Sub", {"c": weights(6, 6)}),
    "Tanh": one("Tanh"),
    "Transpose": one("Transpose", perm=[0, 2, 3, 1]),
    "Unsqueeze": one("Unsqueeze", {"a": ints(2, -1)}),
    "Upsample": one("Upsample", {"s": floats(1, 1, 3, 3)}, opset=9),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("count", [1, 3])
def test_an_operator_computes_what_onnxruntime_computes_and_can_be_stored(content: bytes, count: int) -> None:
    network = torchform.load(torchform.save(import_onnx(content)))
    (wanted,) = expected(content, frames(count))
    torch.testing.assert_close(network(frames(count)), wanted, rtol=1e-4, atol=1e-5)


def test_every_converter_is_tried_above() -> None:
    operators = {n.op_type for content in FILES.values() for n in onnx.load_from_string(content).graph.node}
    assert operators >= CONVERTERS.keys()


def test_several_outputs_are_a_tuple() -> None:
    content = file([node("Relu", outputs=["a"]), node("GlobalAveragePool", outputs=["b"])], outputs=["b", "a"])
    for got, wanted in zip(import_onnx(content)(frames(3)), expected(content, frames(3)), strict=True):
        torch.testing.assert_close(got, wanted)


def test_layers_are_called_as_their_weights_or_as_their_nodes() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "stem.conv.weight"], ["a"], "node_3"),
        helper.make_node("Conv", ["a", "onnx::Conv_7"], ["b"], "/layer1/layer1.0/conv1/Conv"),
        helper.make_node("Relu", ["b"], ["c"], "/layer1/layer1.0/Relu"),
        helper.make_node("Conv", ["c", "onnx::Conv_7"], ["d"], ""),
        helper.make_node("Conv", ["d", "stem.conv.weight"], ["e"], ""),
        helper.make_node("Relu", ["e"], ["f"], "forward"),
        helper.make_node("Add", ["f", "f"], ["y"], "/layer1/layer1.0/Add"),
    ]
    network = import_onnx(file(nodes, {"stem.conv.weight": weights(4, 4, 1, 1), "onnx::Conv_7": weights(4, 4, 1, 1)}))
    assert [n.target for n in network.graph.nodes if n.op == "call_module"] == [
        "stem.conv",
        "layer1.0.conv1",
        "layer1_0_",
        "Conv",
        "stem.conv_2",
        "forward_",
    ]
    assert [n.meta["label"] for n in network.graph.nodes if n.op == "call_function"] == ["layer1.0_2"]


def test_unused_constants_and_unused_operators_are_ignored() -> None:
    content = file([node("Relu"), node("NonZero", outputs=["z"])], {"huge": weights(1000)})
    network = import_onnx(content)
    assert [n.op for n in network.graph.nodes] == ["placeholder", "call_module", "output"]
    assert not list(network.buffers())


@pytest.mark.parametrize(
    ("operator", "message"),
    [("LRN", r"operator LRN \(node '/part/y/LRN'\) cannot .* supported are Abs, Add"), ("CumSum", "operator CumSum")],
)
def test_an_operator_without_a_converter_is_refused_with_those_there_are(operator: str, message: str) -> None:
    attributes = {"size": 3} if operator == "LRN" else {}
    constants = {} if operator == "LRN" else {"axis": np.array(1, np.int32)}
    with pytest.raises(UnsupportedOperator, match=message):
        import_onnx(one(operator, constants, **attributes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (one("Softmax", opset=11, axis=1), "goes over several axes"),
        (one("Softmax", axis=0), "over the frames"),
        (file([node("Cast", outputs=["h"], to=10), node("Cast", ["h"], to=1)]), "another type than float32"),
        (file([node("Concat", ["x", "x"], axis=0)]), "joins along the batch"),
        (one("ReduceMean", axes=[0, 1]), "reduces the batch"),
        (one("ReduceMean"), "reduces every axis"),
        (one("Pad", {"p": ints(1, 0, 0, 0, 0, 0, 0, 0)}), "pads the batch"),
        (one("Gather", {"i": np.array(0, np.int64)}, axis=0), "chooses among the frames"),
        (one("Add", {"c": weights(2, 1, 4, 1, 1)}), "has a part for every frame"),
        (one("Slice", {"a": ints(5), "b": ints(0), "d": ints(3), "s": ints(-1)}), "steps from 1"),
        (
            file([node("Transpose", outputs=["t"], perm=[1, 0, 2, 3]), node("Flatten", ["t"], axis=0)]),
            "mixes the elements",
        ),
        (file([node("Constant", [], value=helper.make_tensor("v", 1, [1], [2.0]))]), "does not depend on the image"),
        (file([*LINEAR, node("Gemm", ["f", "f"], transB=1)]), "must be constant"),
        (one("Transpose", perm=[1, 0, 2, 3]), "frames must come first"),
        (file([node("MatMul", ["c", "x"])], {"c": weights(6, 6)}), "its input 0 does not depend on the frames"),
        (
            file([node("Transpose", outputs=["t"], perm=[1, 0, 2, 3]), node("GlobalAveragePool", ["t"])]),
            "does not have the frames in its first dimension",
        ),
        (
            file([node("Transpose", outputs=["t"], perm=[1, 0, 2, 3]), node("Add", ["x", "t"])]),
            "frames of its inputs lie in different dimensions",
        ),
        (one("ConvTranspose", {"w": weights(4, 3, 3, 3)}, pads=[0, 0, 1, 1]), "equal padding on opposite sides"),
        (one("Conv", {"w": weights(8, 3, 3, 3)}), "operator Conv .* cannot be imported: RuntimeError"),
        (file([node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2])]), "its indices are wanted"),
        (one("AveragePool", opset=19, kernel_shape=[2, 2], dilations=[2, 2]), "dilated averaging"),
        (one("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1]), "must be counted"),
        (file([*LINEAR, node("Gemm", ["f", "w"], transA=1)], {"w": weights(1, 3)}), "its first matrix is transposed"),
        (one("MatMul", {"w": weights(1, 6, 5)}), "its constant has 3 dimensions; 2 are supported"),
        (file([*LINEAR, node("BatchNormalization", ["f", *STATISTICS])], STATISTICS), r"it normalises \[1, 4\]"),
        (one("PRelu", {"s": weights(1, 1, 6)}), r"its slopes are \[1, 1, 6\]"),
        (file([node("Pad", ["x", "p", "", "a"])], {"p": ints(1, 1), "a": ints(2)}, opset=18), "it names axes"),
        (one("Pad", {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}, opset=19, mode="wrap"), "mode wrap; constant, edge"),
        (one("Resize", {"r": None, "s": floats(1, 1, 2, 2)}, mode="cubic"), "mode cubic; nearest and linear"),
        (one("Resize", {"r": None, "f": None, "s": ints(1, 8, 6, 6)}), "only height and width can change"),
        # Nearest to the middle of a pixel, where torch takes the one to the left.
        (one("Resize", {"r": None, "f": None, "s": ints(1, 4, 4, 4)}), r"differs from onnxruntime's by .* allowed is"),
        (one("DepthToSpace", blocksize=2), "mode DCR; CRD is supported"),
        (one("Gather", {"i": np.array([[0, 1]])}, axis=1), "its index has 2 dimensions"),
        (one("Gather", {"i": ints(9)}, axis=1), "onnxruntime does not run the file"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_cannot_be_expressed_is_refused_with_the_reason(content: bytes, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        import_onnx(content)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "size"), [("fastestdet-coco", 352), ("mobilefacenet", 112)])
def test_a_networks_blocks_in_a_chain_are_its_file(name: str, size: int) -> None:
    path = MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    traced = trace(import_onnx(path), Preprocess((0.0,) * 3, (1.0,) * 3), TensorSpec("uint8", (size, size, 3)))
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (3, size, size, 3), dtype=torch.uint8, generator=generator)
    (wanted,) = expected(path.read_bytes(), x.permute(0, 3, 1, 2) / 255)

    def parameters(block: fx.GraphModule, _: TensorSpec) -> float:
        return float(sum(p.numel() for p in block.parameters()))

    def has_layers(block: fx.GraphModule, _: TensorSpec) -> bool:
        return sum(isinstance(m, nn.Conv2d) for m in block.modules()) > 1

    blocks = cut(traced, 5, parameters, has_layers).blocks
    for block in blocks:
        x = torchform.load(torchform.save(block.module))(x)
    assert len(blocks) == 5
    assert float((x - wanted).abs().max() / wanted.abs().max()) < 1e-4
