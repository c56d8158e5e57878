"""What each variant of a model that was just built takes on this machine, as `schedulerd profile` measures it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from blockprofiles.effort import STANDARD
from blockprofiles.listener import Silent
from blockprofiles.measure import disturbed, measure
from blockstore.block import Model
from blockstore.build.built import Timed
from schedulerd.serving.engines.onnx import OnnxEngine

_BUDGET_S: Final = 20.0
"""At most about so long is spent."""


def time_variants(model: Model, path_of: Callable[[str], Path]) -> Timed:
    """The median of each variant inside whole routes, on one thread of onnxruntime."""
    measured = measure(
        (model,),
        (OnnxEngine(threads=1),),
        path_of,
        effort=STANDARD,
        budget_s=_BUDGET_S,
        now=time.perf_counter,
        listener=Silent(),
    )
    medians_ms = {row.digest: row.latency_ms for row in measured.rows}
    return Timed(medians_ms, measured.faults, disturbed(measured.rows))
