"""From a camera's frame to a model's input: resized, in the model's order of channels and layout, and scaled.

A frame of 480 x 640 becomes 224 x 224 in 3.6 ms with Pillow on a virtual core, and in 11.7 ms as two products of
matrices in numpy, which gives the same but for roundings. Pillow's is also what networks are trained with, through
torchvision.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blockstore.block import TensorSpec
from schedulerd.clock import Clock
from schedulerd.errors import BadValue
from schedulerd.serving.engines.base import Array
from schedulerd.wire.messages import Camera

CHANNELS: Final = 3
MIN_MEAN, MAX_MEAN = 0.0, 1.0
MIN_STD, MAX_STD = 0.001, 1000.0
MAX_SIDE: Final = 8192
"""Of a camera's frame, more than cameras have. It is resized one way first, so one that is a pixel wide and as high as
a message allows would take gigabytes on the way: 4 bytes x its height x the input's width."""
TRIALS: Final = 5
"""Runs that a preparation's cost is the median of, after one that is not counted."""
TRIALS_MS: Final = 30.0
"""No further run after that long: whoever registers waits for it, and so does whatever else is to be decided."""


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """How a model's input is made of one camera's frames."""

    frame: TensorSpec
    """What the camera gives: uint8 `[height, width, 3]`."""
    height: int
    width: int
    planes: bool
    """The input is `[3, height, width]`; else `[height, width, 3]`."""
    reverse: bool
    """The camera's channels come in the reverse of the model's order."""
    scaled: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None
    """By what a value is multiplied and what is added then, of each channel; None for an input of uint8."""

    def run(self, frames: Array) -> Array:
        """The input `[1, *input shape]` of one frame `[1, height, width, 3]`, C-contiguous and never its memory.

        At most one pass each for resizing, layout and scale; called on a lane, counted in the request's time.
        """
        pixels = frames[0]
        if pixels.shape[:2] != (self.height, self.width):
            pixels = _resized(pixels, self.height, self.width)
        if self.reverse:
            pixels = pixels[..., ::-1]
        if self.planes:
            pixels = pixels.transpose(2, 0, 1)
        return (np.array(pixels, order="C") if self.scaled is None else self._scale(pixels))[np.newaxis]

    def _scale(self, pixels: Array) -> Array:
        assert self.scaled is not None, "only called where there is a scale"
        gain, offset = self.scaled
        scaled = np.empty(pixels.shape, np.float32)
        if not self.planes:
            np.multiply(pixels, gain, out=scaled)
            scaled += offset
            return scaled
        # Channel by channel of a small copy in the right layout: 0.18 ms for 224 x 224, at once 0.23 ms.
        for channel, plane in enumerate(np.ascontiguousarray(pixels)):
            np.multiply(plane, gain[channel], out=scaled[channel])
            scaled[channel] += offset[channel]
        return scaled

    def cost_ms(self, clock: Clock) -> float:
        """What one frame takes now: the median of a few runs. Loads what they need, so that no request has to."""
        frame = np.full((1, *self.frame.shape), 128, np.uint8)
        self.run(frame)
        taken_ms: list[float] = []
        while len(taken_ms) < TRIALS and sum(taken_ms) < TRIALS_MS:
            began_s = clock.now_s()
            self.run(frame)
            taken_ms.append((clock.now_s() - began_s) * 1e3)
        return statistics.median(taken_ms)


def preparation_of(camera: Camera, wanted: TensorSpec, model: str) -> Preparation | None:
    """How frames of `camera` become `wanted`, the input of `model`; None where they are just that.

    Raises `BadValue` where no input of that form can be made of them, or mean and std make no sense.
    """
    layout = _layout(wanted)
    if layout is None:
        raise BadValue(
            f"{model!r} takes {wanted}, which is not made of camera frames: that is done for uint8 or float32, "
            f"[h x w x 3] or [3 x h x w]; register without the key `camera` and send its input"
        )
    if max(camera.height, camera.width) > MAX_SIDE:
        raise BadValue(
            f"the camera for {model!r} gives {camera.height} x {camera.width}; a side may have up to {MAX_SIDE} "
            f"pixels: make it smaller before it is sent"
        )
    height, width, planes = layout
    scaled = _scale_of(camera, model) if wanted.dtype == "float32" else None
    if scaled is None and (camera.mean is not None or camera.std is not None):
        raise BadValue(f"{model!r} takes uint8 and scales it itself; register its camera without mean and std")
    as_it_is = not planes and not camera.bgr and (camera.height, camera.width) == (height, width)
    if as_it_is and scaled is None:
        return None
    frame = TensorSpec(camera.frame.dtype, camera.frame.shape)
    return Preparation(frame, height, width, planes, camera.bgr, scaled)


def _layout(wanted: TensorSpec) -> tuple[int, int, bool] | None:
    """Height, width, and whether channels come first; None where it is no picture of three channels."""
    if wanted.dtype not in ("uint8", "float32") or len(wanted.shape) != CHANNELS:
        return None
    first, middle, last = wanted.shape
    if last == CHANNELS:
        return first, middle, False
    return (middle, last, True) if first == CHANNELS else None


def _scale_of(camera: Camera, model: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """`(value / 255 - mean) / std` as one multiplication and one addition a channel."""
    mean = np.array(_within("mean", camera.mean or (0.0,) * CHANNELS, MIN_MEAN, MAX_MEAN, model))
    std = np.array(_within("std", camera.std or (1.0,) * CHANNELS, MIN_STD, MAX_STD, model))
    return (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def _within(key: str, values: tuple[float, ...], least: float, most: float, model: str) -> tuple[float, ...]:
    """`BadValue` unless there is one for each channel, and each makes sense on a scale of 0 to 1."""
    if len(values) != CHANNELS or not all(math.isfinite(value) and least <= value <= most for value in values):
        raise BadValue(
            f"{key} of the camera for {model!r} is {', '.join(f'{value:g}' for value in values)}; give {CHANNELS} "
            f"numbers of {least:g} to {most:g}: values are on a scale of 0 to 1"
        )
    return values


def _resized(pixels: Array, height: int, width: int) -> Array:
    """uint8 `[height, width, 3]` in another size: bilinear, over all pixels that one of the result stands for."""
    # Imported where the first such camera registers: a daemon without one need not have it in memory.
    from PIL import Image

    resized: npt.NDArray[Any] = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    return resized
