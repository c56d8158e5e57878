"""Lanes share the loaded blocks of a route: what they compute at once is what each computes alone."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from blockstore.assembly import Chain
from schedulerd.serving.engines.base import Array, Engine
from schedulerd.serving.engines.factory import make_engine
from tests.profiles import tiny

LANES = 2
FRAMES = 40
"""Of each lane."""
PATIENCE_S = 60.0


@pytest.fixture(params=["onnxruntime", "torch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Of one thread a lane."""
    if request.param == "torch":
        pytest.importorskip("torch", reason="the second engine: pip install 'schedulerd[torch]'")
    return make_engine(request.param, threads=1)


def route(engine: Engine, folder: Path) -> Chain:
    """Three convolutions of 16 channels."""
    for number in range(3):
        weights = np.random.default_rng(number).standard_normal((16, 16, 3, 3)).astype(np.float32) / 12
        if engine.name == "torch":
            from tests.serving.engines.test_torch import convolution

            data = convolution(weights)
        else:
            data = tiny.convolution(weights, side=32)
        (folder / str(number)).write_bytes(data)
    return Chain(tuple(engine.load(folder / str(number)) for number in range(3)))


def test_lanes_that_run_the_same_blocks_at_once_compute_what_each_does_alone(engine: Engine, tmp_path: Path) -> None:
    """Bit for bit: they begin together, and each has frames of its own."""
    chain = route(engine, tmp_path)
    draw = np.random.default_rng(7)
    frames = [[draw.standard_normal((1, 16, 32, 32)).astype(np.float32) for _ in range(FRAMES)] for _ in range(LANES)]
    expected = [[answer(engine, chain, frame) for frame in own] for own in frames]
    found: list[list[Array]] = [[] for _ in range(LANES)]
    begin = threading.Barrier(LANES)

    def lane(number: int) -> None:
        begin.wait(PATIENCE_S)
        found[number].extend(answer(engine, chain, frame) for frame in frames[number])

    lanes = [threading.Thread(target=lane, args=(number,), daemon=True) for number in range(LANES)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join(PATIENCE_S)
    for own, right in zip(found, expected, strict=True):
        assert len(own) == FRAMES
        assert all(map(np.array_equal, own, right))


def answer(engine: Engine, chain: Chain, frame: Array) -> Array:
    """What a lane replies to a frame."""
    return engine.fetch(chain.run(engine.feed(frame)))
