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
from tests.blockstore.build.kinds.encoded import BATCHES, Bench, bench, relative_error, with_other_frames
from tests.blockstore.build.kinds.reshaping import scaled

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


def averaged() -> nn.Module:
    """A pooling between two layers in INT8."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AvgPool2d(2), nn.Conv2d(8, 4, 1))


class Detector(nn.Module):
    """Probabilities of classes beside positions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.score, self.place = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.stem(x).relu()
        scores = self.score(features).permute(0, 3, 2, 1).softmax(3).permute(0, 3, 2, 1)
        return torch.cat([scores, self.place(features), self.place(features).sigmoid()], 1)


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
    assert float(made.facts["encoding_error"]) == pytest.approx(np.mean(errors), rel=0.5)


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
    nodes = optimised(made, tmp_path)
    assert nodes.index("MaxPool") < nodes.index("QuantizeLinear") < nodes.index("QLinearConv")


def optimised(made: Encoded, folder: Path) -> list[str]:
    """The operators that onnxruntime makes of it."""
    path = folder / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(made.forms.onnx, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]


def test_average_pooling_stays_in_float(tmp_path: Path) -> None:
    nodes = optimised(bench(averaged).encode(int8.parse([])), tmp_path)
    assert "AveragePool" in nodes
    assert nodes.count("QLinearConv") == 2


def test_what_a_detector_squashes_last_is_squashed_in_float(tmp_path: Path) -> None:
    tested = bench(Detector)
    made = tested.encode(int8.parse([]))
    inputs, _ = next(tested.material.batches())
    scores = run(session(made.forms.onnx, threads=1), inputs.numpy())[:, :4]
    assert scores.sum(1) == pytest.approx(1.0, abs=1e-5)
    nodes = optimised(made, tmp_path)
    assert {"Softmax", "Sigmoid", "Concat"} <= set(nodes)
    assert nodes.count("QLinearConv") >= 2


def in_batches_of(tested: Bench, size: int) -> Bench:
    inputs, outputs = (torch.cat(parts) for parts in zip(*tested.material.batches(), strict=True))
    pairs = list(zip(torch.split(inputs, size), torch.split(outputs, size), strict=True))
    return replace(tested, material=replace(tested.material, batches=lambda: iter(pairs)))


@pytest.mark.parametrize("images", ["10", "16"])
def test_as_many_images_as_wanted_are_calibrated_on_whatever_the_batch_size(images: str) -> None:
    tested = bench(networks.residual)
    made = {in_batches_of(tested, size).encode(int8.parse([images])).forms.onnx for size in (1, 4, 24)}
    assert made == {tested.encode(int8.parse([images])).forms.onnx}
    assert made != {tested.encode(int8.parse(["24"])).forms.onnx}


def test_all_images_are_calibrated_on_where_there_are_fewer() -> None:
    tested = bench(networks.residual)
    assert tested.encode(int8.parse([])).forms == tested.encode(int8.parse([str(8 * BATCHES)])).forms


class TwoScales(nn.Module):
    """Two outputs, one in thousands and one in thousandths."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.large, self.small = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1), nn.Conv2d(8, 3, 1)
        with torch.no_grad():
            self.large.weight.mul_(1e3)
            self.small.weight.mul_(1e-3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.stem(x))
        return self.large(x), self.small(x).mean((2, 3))


def test_every_output_of_a_network_has_a_scale_of_its_own() -> None:
    tested = bench(TwoScales)
    made = tested.encode(int8.parse([]))
    assert made.facts["layers_converted"] == 2
    inputs, expected = next(tested.material.batches())
    got = torch.from_numpy(run(session(made.forms.onnx, threads=1), inputs.numpy()))
    assert relative_error(got[:, -3:], expected[:, -3:]) < 0.05


def test_constants_of_the_network_are_no_hindrance() -> None:
    assert float(bench(scaled).encode(int8.parse([])).facts["encoding_error"]) < 0.05


def test_training_images_of_another_size_than_the_one_that_is_served_are_a_reason() -> None:
    with pytest.raises(Declined, match="training images of the size that is served; these are of another"):
        with_other_frames(bench(networks.residual)).encode(int8.parse([]))


def test_another_process_makes_the_same_file_and_prints_logs_and_writes_nothing(tmp_path: Path) -> None:
    """Python's hashes differ from process to process, and with them the order of sets.

    No file may have a byte there, as on a full disk.
    """
    program = (
        "import hashlib, logging, resource\n"
        "from tests.blockstore.build import networks\n"
        "from tests.blockstore.build.kinds.encoded import bench\n"
        "from blockstore.build.kinds import int8\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
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
