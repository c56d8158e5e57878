"""Frames run through blocks and heads by the engine, one at a time: milliseconds, not multiply-adds."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.exits_study import GIVEN, Heads, Study
from benchmarks.harness import Figure, Target
from blockstore.assembly import LoadedBlock, LoadedHead
from blockstore.block import TensorSpec
from blockstore.build.exits.confidence import entropy, max_probability
from blockstore.build.exits.descent import IDLE, OFF, Thresholds
from blockstore.build.exits.forms import head_forms
from schedulerd.serving.engines.onnx import OnnxEngine

FRAMES = 300
ROUNDS = 7
FIVE = 5
"""Exits that the thesis asks in one pass."""


@dataclass(frozen=True)
class Mounted:
    """A head with its exit."""

    inputs: tuple[int, ...]
    head: LoadedHead
    threshold: float


def mean_ms(made: Study, contenders: Mapping[str, tuple[Heads, Thresholds]]) -> dict[str, Figure]:
    """Mean time of a test frame by each method, and without exits; all take turns on every frame."""
    frames = made.images.test.images[:FRAMES]
    with tempfile.TemporaryDirectory() as folder:
        blocks = _blocks(made, Path(folder))
        calls: dict[str, Callable[[Any], None]] = {"no_exits": partial(_through, blocks, {})}
        for name, (heads, thresholds) in contenders.items():
            calls[name] = partial(_through, blocks, _mounted(made, heads, thresholds, Path(folder), name))
        times = _in_turns(calls, frames)
    return {
        name: Figure(statistics.fmean(per_frame), "ms", None, {"frames": per_frame})
        for name, per_frame in times.items()
    }


def shared_prefix(made: Study) -> dict[str, Figure]:
    """All exits in one pass beside separate runs, each from the first block to one exit; the network's end is one."""
    heads = made.final["mxn"]
    count = min(FIVE - 1, len(heads.learners))
    # Evenly spread over the depth, the end being the last of the five.
    numbers = [round(i * (len(heads.learners) - 1) / max(1, count - 1)) for i in range(count)]
    some = heads.of(sorted(set(numbers)))
    with tempfile.TemporaryDirectory() as folder:
        blocks = _blocks(made, Path(folder))
        mounted = _mounted(made, some, (IDLE,) * len(some.learners), Path(folder), "mxn")
        times = _in_turns(
            {"together": partial(_through, blocks, mounted), "apart": partial(_apart, blocks, mounted)},
            made.images.test.images[:100],
        )
    together, apart = (statistics.fmean(times[name]) for name in ("together", "apart"))
    return {
        "shared_prefix_speedup": Figure(apart / together, "times", Target(">=", 3.89) if count == 4 else None, times)
    }


def _blocks(made: Study, folder: Path) -> list[LoadedBlock]:
    engine, loaded = OnnxEngine(threads=1), []
    for finished in made.finished:
        path = folder / f"block{finished.block}.onnx"
        path.write_bytes(finished.forms().onnx)
        loaded.append(engine.load(path))
    return loaded


def _mounted(made: Study, heads: Heads, thresholds: Thresholds, folder: Path, name: str) -> dict[int, Mounted]:
    """By the block after which it stands; exits that are off are not there."""
    engine, found = OnnxEngine(threads=1), {}
    measure = entropy if name.startswith(GIVEN) else max_probability
    for learner, temperature, threshold in zip(heads.learners, heads.temperatures, thresholds, strict=True):
        if threshold == OFF:
            continue
        specs = [made.blocks[block].output for block in learner.inputs]
        forms = head_forms(learner.head, specs, measure, temperature, [_sample(spec) for spec in specs])
        path = folder / f"{name}{learner.block}.onnx"
        path.write_bytes(forms.onnx)
        found[learner.block] = Mounted(learner.inputs, engine.load_head(path), threshold)
    return found


def _sample(spec: TensorSpec) -> torch.Tensor:
    return torch.rand((2, *spec.shape), generator=torch.Generator().manual_seed(0))


def _through(blocks: Sequence[LoadedBlock], exits: Mapping[int, Mounted], frame: Any) -> None:
    """One frame, until an exit is sure."""
    tensor, outputs = frame, []
    for number, block in enumerate(blocks):
        tensor = block.run(tensor)
        outputs.append(tensor)
        exit_ = exits.get(number)
        if exit_ is not None and exit_.head.run([outputs[i] for i in exit_.inputs])[1] >= exit_.threshold:
            return


def _apart(blocks: Sequence[LoadedBlock], exits: Mapping[int, Mounted], frame: Any) -> None:
    """A run of its own for each exit and for the end."""
    for last, exit_ in exits.items():
        _through(blocks[: last + 1], {last: exit_}, frame)
    _through(blocks, {}, frame)


def _in_turns(calls: Mapping[str, Callable[[Any], None]], frames: Any) -> dict[str, list[float]]:
    """For each call, the median over the rounds of every frame, in ms."""
    times: dict[str, list[list[float]]] = {name: [] for name in calls}
    for frame in frames:
        batch = np.ascontiguousarray(frame[None])
        for name in calls:
            times[name].append([])
        for _ in range(ROUNDS):
            for name, call in calls.items():
                began_s = time.perf_counter()
                call(batch)
                times[name][-1].append(1e3 * (time.perf_counter() - began_s))
    return {name: [statistics.median(rounds) for rounds in rows] for name, rows in times.items()}
