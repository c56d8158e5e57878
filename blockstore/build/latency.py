"""How long operators take in onnxruntime: what cuts are balanced by, and widths compared by.

Short: the profile is another matter.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Final

from torch import fx

from blockstore import torchform
from blockstore.block import TensorSpec
from blockstore.build.export import run, session, to_onnx
from blockstore.build.trace import example

_WARM_UP: Final = 3
_RUNS: Final = 15


def median_ms(block: fx.GraphModule, spec: TensorSpec) -> float:
    """Median time of `block` on one frame of `spec`, one thread."""
    return medians_ms([block], spec)[0]


def medians_ms(modules: Sequence[fx.GraphModule], spec: TensorSpec) -> list[float]:
    """Median time of each of `modules` on one frame of `spec`, one thread.

    They take turns: what slows the machine down for a moment slows all of them.
    """
    loaded = [session(to_onnx(torchform.load(torchform.save(module)), (spec,)), threads=1) for module in modules]
    frame = example(spec, batch=1).numpy()
    rounds = []
    for _ in range(_WARM_UP + _RUNS):
        samples = []
        for one in loaded:
            start = time.perf_counter()
            run(one, frame)
            samples.append(1e3 * (time.perf_counter() - start))
        rounds.append(samples)
    return [statistics.median(samples) for samples in zip(*rounds[_WARM_UP:], strict=True)]
