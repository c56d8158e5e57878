"""INT8: quantised inside, the same types outside, near to the original."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from blockstore.build.export import run, session
from blockstore.build.kinds import int8
from blockstore.build.kinds.base import Declined, Encoded
from blockstore.errors import CannotBuild
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.encoded import BATCHES, Bench, bench, relative_error

ROOT = Path(__file__).resolve().parents[4]


def operators(onnx_form: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(onnx_form).graph.node)


def wide() -> nn.Module:
    """Enough weights for them to be most of the file."""
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4096, 32))
    return nn.Sequential(*layers)


def pooled() -> nn.Module:
    """The stem of a residual network: a pooling between the layer in float32 and the first one in INT8."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Flatten())


@pytest.mark.parametrize(
    ("make", "index", "blocks"),
    [
        (networks.residual, 0, 1),
        (networks.residual, 1, 2),
        (networks.plain, 1, 2),
        (networks.depthwise, 1, 2),
        (pooled, 0, 1),
    ],
)
def test_the_output_stays_near_the_original(make: Callable[[], nn.Module], index: int, blocks: int) -> None:
    tested = bench(make, index, blocks)
    made = tested.encode(int8.parse([]))
    assert made.forms.torch is None
    errors = []
    for inputs, expected in tested.material.batches():
        got = torch.from_numpy(run(session(made.forms.onnx, threads=1), inputs.numpy()))
        assert got.dtype == torch.float32
        assert got.shape == expected.shape
        errors.append(relative_error(got, expected))
    assert 0 < max(errors) < 0.05
    assert float(made.facts["output_error"]) == pytest.approx(np.mean(errors), rel=0.5)


def test_any_number_of_frames_is_taken() -> None:
    loaded = session(bench(networks.residual).encode(int8.parse([])).forms.onnx, threads=1)
    assert [run(loaded, networks.frames(n).numpy()).shape for n in (1, 5)] == [(1, 4), (5, 4)]


def test_weights_are_8_bit_with_a_scale_for_each_channel() -> None:
    tested = bench(networks.plain, index=1, blocks=2)
    model = onnx.load_from_string(tested.encode(int8.parse([])).forms.onnx)
    onnx.checker.check_model(model, full_check=True)
    weights = [t for t in model.graph.initializer if len(t.dims) == 4]
    assert weights
    assert {t.data_type for t in weights} == {onnx.TensorProto.INT8}
    scales = {t.name: t.dims for t in model.graph.initializer if t.name.endswith("_scale")}
    assert all(list(scales[t.name.replace("_quantized", "_scale")]) == [t.dims[0]] for t in weights)


def test_a_convolution_on_frames_stays_in_float() -> None:
    made = bench(networks.plain).encode(int8.parse([]))
    assert made.facts["layers"] == 7
    assert made.facts["layers_converted"] == 6
    features = bench(networks.plain, index=1, blocks=2).encode(int8.parse([]))
    assert features.facts["layers"] == features.facts["layers_converted"]


def test_a_block_of_one_convolution_on_frames_is_declined() -> None:
    with pytest.raises(Declined, match="no layer to quantise"):
        bench(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten())).encode(int8.parse([]))


def test_onnxruntime_keeps_pooling_in_float_before_the_first_quantised_layer(tmp_path: Path) -> None:
    made = bench(pooled).encode(int8.parse([]))
    optimised = tmp_path / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(made.forms.onnx, options, providers=["CPUExecutionProvider"])
    nodes = [node.op_type for node in onnx.load(optimised).graph.node]
    assert nodes.index("MaxPool") < nodes.index("QuantizeLinear") < nodes.index("QLinearConv")


def test_only_the_wanted_number_of_batches_is_calibrated_on() -> None:
    tested = bench(networks.residual)
    served: list[int] = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        served.append(0)
        for batch in tested.material.batches():
            served[-1] += 1
            yield batch

    counting = replace(tested, material=replace(tested.material, batches=batches))
    one = counting.encode(int8.parse(["1"])).forms.onnx
    assert served == [1, BATCHES]
    assert one != tested.encode(int8.parse(["2"])).forms.onnx
    assert tested.encode(int8.parse(["100"])).forms == tested.encode(int8.parse([str(BATCHES)])).forms


def test_another_process_makes_the_same_file_and_prints_logs_and_leaves_nothing(tmp_path: Path) -> None:
    """Python's hashes differ from process to process, and with them the order of sets."""
    program = (
        "import hashlib, logging\n"
        "from tests.blockstore.build import networks\n"
        "from tests.blockstore.build.kinds.encoded import bench\n"
        "from blockstore.build.kinds import int8\n"
        "made = bench(networks.residual).encode(int8.parse([]))\n"
        "print(hashlib.sha256(made.forms.onnx).hexdigest(), logging.root.handlers)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "1", "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    here = bench(networks.residual).encode(int8.parse([])).forms.onnx
    assert done.stdout == f"{hashlib.sha256(here).hexdigest()} []\n"
    assert done.stderr == ""
    # onnxruntime writes this one when it is imported.
    assert {path.name for path in tmp_path.iterdir()} <= {".ses"}


def test_a_block_whose_output_is_not_a_number_is_declined() -> None:
    tested = bench(networks.plain, index=1, blocks=2)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, expected in tested.material.batches():
            yield inputs, expected * float("nan")

    broken: Bench = replace(tested, material=replace(tested.material, batches=batches))
    with pytest.raises(Declined, match="not a number"):
        broken.encode(int8.parse([]))


def test_the_file_shrinks_towards_a_quarter() -> None:
    tested = bench(wide)
    made: Encoded = tested.encode(int8.parse([]))
    assert len(made.forms.onnx) < 0.3 * len(tested.forms.onnx)
    assert operators(made.forms.onnx)["QuantizeLinear"] > 0


@pytest.mark.parametrize("arguments", [["0"], ["-1"], ["many"], ["1", "2"]])
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CannotBuild):
        int8.parse(arguments)
