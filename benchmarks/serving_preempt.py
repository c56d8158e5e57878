"""Frames late with and without preemption at block boundaries: three cameras, one of whose networks has long blocks.

Cameras of 30, 15 and 5 frames a second, each with its period as its budget, fill 85% of one lane. By the demand of
earliest deadline first (Baruah's test with one block of blocking) all deadlines can be met if a frame waits for one
block of the slow network; waiting for the whole of it, the quick one is late whenever it comes in its first two thirds.
Two daemons, with `preempt` on and off, take turns; the cameras start at random offsets, which are the same for both.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.bare_route import input_shape, original_chain
from benchmarks.daemons import daemon
from benchmarks.harness import Figure, Options, Target
from benchmarks.networks import add_network
from benchmarks.processes import Helper
from blockstore.store import Store


class Camera(NamedTuple):
    """One app."""

    rate_hz: float
    share: float
    """Of the lane's time."""
    blocks: int

    @property
    def frame_ms(self) -> float:
        """What a frame should take."""
        return 1e3 * self.share / self.rate_hz

    @property
    def budget_ms(self) -> float:
        """Until the next frame comes."""
        return 1e3 / self.rate_hz


CAMERAS: Mapping[str, Camera] = {
    "quick": Camera(30.0, 0.18, 4),
    "middle": Camera(15.0, 0.21, 4),
    "slow": Camera(5.0, 0.46, 8),
}
UTILISATION = sum(camera.share for camera in CAMERAS.values())
SIDES = {"preempt": "true", "nopreempt": "false"}
FIGURES = (
    *(f"{side}_misses" for side in SIDES),
    *(f"{side}_misses_{name}" for side in SIDES for name in CAMERAS),
    "preempt_utilisation",
    "preempt_longest_block_ms",
)
FIRST_SIDE = 128
"""Of the frames that a network is first tried with."""
TRIALS, NEAR = 8, 0.02
"""Sides that are tried, at most, until a frame takes as long as it should within 2%."""
RUNS = 40
"""Frames that a network is timed with."""
SETTLE_S = 0.5
ANSWER_TIMEOUT_S = 40.0


class Seen(NamedTuple):
    """What a camera was answered."""

    latencies_ms: list[float]
    unanswered: int

    def late(self, budget_ms: float) -> int:
        """Frames whose answer came after the budget, or never."""
        return self.unanswered + sum(latency_ms > budget_ms for latency_ms in self.latencies_ms)

    @property
    def frames(self) -> int:
        """All that were sent."""
        return self.unanswered + len(self.latencies_ms)


def measure(options: Options, folder: Path) -> dict[str, Figure]:
    """Misses of both sides, in turns."""
    rounds, seconds = (1, 3.0) if options.quick else (4, 20.0)
    root = folder / "store"
    frame_ms, block_ms = _fit(root)
    draw = random.Random(0)  # noqa: S311 (offsets of cameras)
    seen: dict[str, dict[str, list[Seen]]] = {side: {name: [] for name in CAMERAS} for side in SIDES}
    with ExitStack() as stack:
        helpers = {side: _cameras(stack, root, folder, side) for side in SIDES}
        for number in range(rounds):
            offsets_s = [draw.random() / camera.rate_hz for camera in CAMERAS.values()]
            for side in list(SIDES) if number % 2 == 0 else list(reversed(SIDES)):
                for name, found in _window(helpers[side], offsets_s, seconds).items():
                    seen[side][name].append(found)
    used = sum(camera.rate_hz * frame_ms[name] / 1e3 for name, camera in CAMERAS.items())
    return {
        **figures(seen),
        "preempt_utilisation": Figure(used, "1", None, {"frame_ms": list(frame_ms.values())}),
        "preempt_longest_block_ms": Figure(block_ms, "ms"),
    }


def figures(seen: Mapping[str, Mapping[str, Sequence[Seen]]]) -> dict[str, Figure]:
    """Shares of late frames, of all and by camera."""
    found: dict[str, Figure] = {}
    for side, cameras in seen.items():
        late = {name: sum(s.late(CAMERAS[name].budget_ms) for s in rounds) for name, rounds in cameras.items()}
        sent = {name: sum(s.frames for s in rounds) for name, rounds in cameras.items()}
        # The issue gives no number: with preemption, less than one in a hundred.
        target = Target("<=", 1.0) if side == "preempt" else None
        found[f"{side}_misses"] = Figure(100 * sum(late.values()) / sum(sent.values()), "% of frames", target)
        for name, rounds in cameras.items():
            samples = {"latency_ms": [ms for s in rounds for ms in s.latencies_ms]}
            found[f"{side}_misses_{name}"] = Figure(100 * late[name] / sent[name], "% of frames", None, samples)
    return found


def _window(cameras: Mapping[str, Helper], offsets_s: Sequence[float], seconds: float) -> dict[str, Seen]:
    start_s = time.monotonic() + SETTLE_S
    for helper, offset_s in zip(cameras.values(), offsets_s, strict=True):
        helper.tell(f"go {start_s + offset_s} {seconds}")
    answers = {name: helper.hear(seconds + ANSWER_TIMEOUT_S) for name, helper in cameras.items()}
    return {name: Seen(a["latencies_ms"], a["refused"] + a["lost"]) for name, a in answers.items()}


def _cameras(stack: ExitStack, root: Path, folder: Path, side: str) -> dict[str, Helper]:
    """A daemon with one lane of one thread, and its three cameras, registered and warm."""
    runtime = folder / side
    config = (
        f"[engine]\nlanes = 1\nthreads_per_lane = 1\nmerge = false\npreempt = {SIDES[side]}\n\n"
        "[limits]\nutilisation = 1.0\n\n[profile]\nseconds = 3\nbackground = false\n"
    )
    stack.enter_context(daemon(root, folder / f"state-{side}", runtime, config))
    helpers = {}
    for name, camera in CAMERAS.items():
        arguments = [str(runtime), name, str(camera.rate_hz), str(camera.budget_ms), name]
        helpers[name] = stack.enter_context(Helper([sys.executable, "-m", "benchmarks.camera", *arguments]))
        helpers[name].hear(ANSWER_TIMEOUT_S)
    _window(helpers, [0.0] * len(helpers), 1.0)
    return helpers


# Networks that take as long as wanted.


def _fit(root: Path) -> tuple[dict[str, float], float]:
    """Put the networks into a store, and what a frame of each takes, and the longest block of all."""
    frame_ms, longest_ms = {}, 0.0
    for name, camera in CAMERAS.items():
        blocks_ms = _fitted(root, name, camera)
        frame_ms[name] = sum(blocks_ms)
        longest_ms = max(longest_ms, *blocks_ms)
    return frame_ms, longest_ms


def _fitted(root: Path, name: str, camera: Camera) -> list[float]:
    """Put a network into the store whose frame takes as long as it should; the time of each of its blocks."""
    side, tried = FIRST_SIDE, dict[int, list[float]]()
    for _ in range(TRIALS):
        tried[side] = _tried(root, name, camera, side)
        taken = sum(tried[side]) / camera.frame_ms
        if abs(taken - 1) <= NEAR:
            return tried[side]
        # Cost goes with the area.
        side = max(16, round(side / taken**0.5))
    # Timings of a busy host may never come near twice: the one that did best is measured again.
    nearest = min(tried, key=lambda side: abs(sum(tried[side]) - camera.frame_ms))
    return _tried(root, name, camera, nearest)


def _tried(root: Path, name: str, camera: Camera, side: int) -> list[float]:
    with Store.open(root, create=True) as store:
        add_network(store, name, side, blocks=camera.blocks)
    return _blocks_ms(root, name)


def _blocks_ms(root: Path, name: str) -> list[float]:
    """Median time of each block in this process."""
    chain, first = original_chain(root, name), np.zeros(input_shape(root, name), np.uint8)
    times_ms: list[list[float]] = [[] for _ in chain.blocks]
    for _ in range(RUNS):
        tensor = first
        for block, row in zip(chain.blocks, times_ms, strict=True):
            began_s = time.perf_counter()
            tensor = block.run(tensor)
            row.append(1e3 * (time.perf_counter() - began_s))
    return [statistics.median(row[3:]) for row in times_ms]
