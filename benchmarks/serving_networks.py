"""What daemon and peers serve when they are compared: the same network, as blocks for one and whole for the others.

Weights are random and equal on all sides, made from one seed; only cost matters, and that every side computes the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from benchmarks.cost_stores import SUBJECTS, cost_store, originals, preprocess_of
from benchmarks.wholemodel import onnx_of
from blockstore.block import TensorSpec

NAMES = ("resnet20", "mobilenetv2")
VARIANTS = ("skip:1",)
"""A build makes some; the quickest to make, and left out of what is served."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network in every form that a side needs."""

    name: str
    store: Path
    """Of its original blocks alone."""
    whole: Path
    """ONNX, all of it in one graph: `input` uint8 `[1, h, w, 3]`, `output` float32 `[1, classes]`."""
    frame: Path
    """The one that every client sends, `.npy`."""
    shape: tuple[int, ...]
    """Of that frame, with its batch of one."""
    output: npt.NDArray[Any]
    """What it should come to."""

    def agrees(self, output: npt.ArrayLike) -> bool:
        """Whether a side computed this network."""
        found = np.asarray(output, np.float32).reshape(-1)
        return found.shape == self.output.shape and bool(np.allclose(found, self.output, rtol=1e-2, atol=1e-3))


def network(name: str, folder: Path) -> Network:
    """Make one in `folder`; a quarter of a minute."""
    subject = SUBJECTS[name]
    shape = (1, subject.side, subject.side, subject.channels)
    made = cost_store(folder / f"{name}-built", [name], VARIANTS)
    store = originals(made, [name], folder / f"{name}-store")
    whole, frame = folder / f"{name}.onnx", folder / f"{name}.npy"
    # As `cost_store` does it: the same numbers are drawn.
    torch.manual_seed(0)
    whole.write_bytes(onnx_of(subject.network().eval(), preprocess_of(subject), TensorSpec("uint8", shape[1:])))
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.save(frame, image)
    session = onnxruntime.InferenceSession(whole, providers=["CPUExecutionProvider"])
    (asked,), (given,) = session.get_inputs(), session.get_outputs()
    output = session.run([given.name], {asked.name: image})[0]
    return Network(name, store, whole, frame, shape, output.reshape(-1))
