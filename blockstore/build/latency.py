"""How long a run of operators takes in onnxruntime: what cuts are balanced by. Short: the profile is another matter."""

from __future__ import annotations

import statistics
import time
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
    loaded = session(to_onnx(torchform.load(torchform.save(block)), spec), threads=1)
    frame = example(spec, batch=1).numpy()
    samples = []
    for _ in range(_WARM_UP + _RUNS):
        start = time.perf_counter()
        run(loaded, frame)
        samples.append(1e3 * (time.perf_counter() - start))
    return statistics.median(samples[_WARM_UP:])
