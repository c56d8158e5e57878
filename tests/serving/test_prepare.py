"""Camera frames become what a model takes: the right size, order of channels, layout and scale, or a clear refusal."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from blockstore.block import TensorSpec
from schedulerd.errors import BadValue
from schedulerd.serving.prepare import MAX_SIDE, Preparation, preparation_of
from schedulerd.wire.messages import Camera
from tests.fakes import FakeClock

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
NOISE = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), np.uint8)


def prepared(camera: Camera, wanted: TensorSpec, frames: Any = NOISE) -> Any:
    preparation = preparation_of(camera, wanted, "m")
    assert preparation is not None
    given = preparation.run(frames)
    assert given.dtype == wanted.dtype
    assert given.shape == (1, *wanted.shape)
    assert given.flags.c_contiguous
    assert not np.shares_memory(given, frames)
    return given[0]


def triangle_weights(before: int, after: int) -> npt.NDArray[np.float64]:
    """[after, before]: each result's share of what it is made of, by a triangle as wide as it stands for."""
    scale = before / after
    reach = max(scale, 1.0)
    centres = (np.arange(after)[:, None] + 0.5) * scale
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(before) + 0.5 - centres) / reach)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (96, 64), (48, 7), (1, 1), (100, 200)])
def test_resizing_weighs_every_pixel_by_a_triangle(height: int, width: int) -> None:
    """Smaller pictures are made of all pixels, not of two in each direction: that is what networks were trained on."""
    found = prepared(Camera(48, 64), TensorSpec("uint8", (height, width, 3)))
    exact = np.einsum("ah,bw,hwc->abc", triangle_weights(48, height), triangle_weights(64, width), NOISE[0] / 1.0)
    assert np.abs(found - exact).max() <= 1.1  # rounded after each direction


@pytest.mark.parametrize("size", [(48, 64), (24, 16)], ids=["same size", "resized"])
@pytest.mark.parametrize("bgr", [False, True], ids=["rgb", "bgr"])
@pytest.mark.parametrize("planes", [False, True], ids=["channels last", "channels first"])
def test_values_are_normalised_by_channel(size: tuple[int, int], bgr: bool, planes: bool) -> None:
    wanted = TensorSpec("float32", (3, *size) if planes else (*size, 3))
    pixels = NOISE[0] if size == (48, 64) else prepared(Camera(48, 64), TensorSpec("uint8", (*size, 3)))
    expected = (pixels[..., :: -1 if bgr else 1] / 255 - IMAGENET["mean"]) / IMAGENET["std"]
    found = prepared(Camera(48, 64, **IMAGENET, bgr=bgr), wanted)
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1) if planes else expected, rtol=1e-5, atol=1e-5)


def test_without_mean_and_std_values_are_shares_of_255() -> None:
    found = prepared(Camera(48, 64), TensorSpec("float32", (3, 48, 64)))
    np.testing.assert_allclose(found, NOISE[0].transpose(2, 0, 1) / 255, rtol=1e-6)


@pytest.mark.parametrize("bgr", [False, True])
def test_bytes_are_put_in_order_and_left_alone_otherwise(bgr: bool) -> None:
    found = prepared(Camera(48, 64, bgr=bgr), TensorSpec("uint8", (3, 48, 64)))
    np.testing.assert_array_equal(found, NOISE[0][..., :: -1 if bgr else 1].transpose(2, 0, 1))


def test_frames_that_are_the_input_already_need_nothing() -> None:
    assert preparation_of(Camera(48, 64), TensorSpec("uint8", (48, 64, 3)), "m") is None


@pytest.mark.parametrize("size", [(48, 64), (8, 8)])
def test_bytes_in_the_other_order_are_turned(size: tuple[int, int]) -> None:
    wanted = TensorSpec("uint8", (*size, 3))
    plain = NOISE[0] if size == (48, 64) else prepared(Camera(48, 64), wanted)
    np.testing.assert_array_equal(prepared(Camera(48, 64, bgr=True), wanted), plain[..., ::-1])


def test_frames_are_only_read() -> None:
    """They may lie in memory that a client shares with us and that we may not write."""
    frames = NOISE.copy()
    frames.flags.writeable = False
    prepared(Camera(48, 64, bgr=True), TensorSpec("float32", (3, 20, 20)), frames)
    np.testing.assert_array_equal(frames, NOISE)


@pytest.mark.parametrize(
    "wanted",
    [
        TensorSpec("uint8", (28, 28, 1)),
        TensorSpec("float32", (1, 28, 28)),
        TensorSpec("float32", (3, 4, 28, 28)),
        TensorSpec("int64", (28, 28, 3)),
        TensorSpec("float32", (10,)),
    ],
    ids=str,
)
def test_an_input_that_is_no_picture_of_three_channels_is_refused(wanted: TensorSpec) -> None:
    with pytest.raises(BadValue, match="not made of camera frames") as caught:
        preparation_of(Camera(48, 64), wanted, "m")
    assert str(wanted) in str(caught.value)


@pytest.mark.parametrize("camera", [Camera(MAX_SIDE + 1, 1), Camera(1, MAX_SIDE + 1)])
def test_a_frame_that_would_take_gigabytes_on_the_way_is_refused(camera: Camera) -> None:
    with pytest.raises(BadValue, match="a side may have up to 8192 pixels"):
        preparation_of(camera, TensorSpec("float32", (3, 224, 224)), "m")
    assert preparation_of(Camera(MAX_SIDE, 1), TensorSpec("float32", (3, 224, 224)), "m") is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"std": (0.2, 0.0, 0.2)}, "std"),
        ({"std": (0.2, -0.2, 0.2)}, "std"),
        ({"std": (0.2, float("nan"), 0.2)}, "std"),
        ({"std": (0.2, 1e300, 0.2)}, "std"),
        ({"std": (0.2, 0.2)}, "std"),
        ({"mean": (0.2, float("inf"), 0.2)}, "mean"),
        ({"mean": (123.7, 116.3, 103.5)}, "mean"),
        ({"mean": (-0.5, 0.5, 0.5)}, "mean"),
    ],
)
def test_a_scale_that_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadValue, match=f"^{said} .* on a scale of 0 to 1"):
        preparation_of(Camera(48, 64, **changes), TensorSpec("float32", (3, 48, 64)), "m")


@pytest.mark.parametrize("key", ["mean", "std"])
def test_an_input_of_bytes_takes_no_scale(key: str) -> None:
    with pytest.raises(BadValue, match="without mean and std"):
        preparation_of(Camera(48, 64, **{key: (0.5, 0.5, 0.5)}), TensorSpec("uint8", (48, 64, 3)), "m")


class _CountingClock(FakeClock):
    """Each look takes some time."""

    def __init__(self, look_s: float) -> None:
        super().__init__()
        self._look_s = look_s
        self.looks = 0

    def now_s(self) -> float:
        self.looks += 1
        self.advance(self._look_s)
        return super().now_s()


@pytest.mark.parametrize(("run_ms", "runs"), [(1.0, 5), (20.0, 2), (500.0, 1)])
def test_the_cost_is_measured_in_bounded_time(run_ms: float, runs: int) -> None:
    preparation = preparation_of(Camera(48, 64), TensorSpec("float32", (3, 8, 8)), "m")
    assert isinstance(preparation, Preparation)
    clock = _CountingClock(run_ms * 1e-3)
    assert preparation.cost_ms(clock) == pytest.approx(run_ms)
    assert clock.looks == 2 * runs


def test_what_resizes_is_loaded_only_where_it_is_needed() -> None:
    code = "import sys, schedulerd.serving.front; assert 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
