"""Timings that were recorded while two hogs came and went, replayed: what is predicted against what was measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blockprofiles.contention import Contention
from schedulerd.control.correction import CorrectionSettings
from schedulerd.control.drift_watch import DriftWatch
from schedulerd.plan import EMPTY_PLAN
from schedulerd.serving.meter import Observation
from schedulerd.serving.route import ExpectedBlock
from tests.serving.parts import AddBlock, live_app, route_of

RECORDED = Path(__file__).resolve().parent.parent / "data" / "live_timings"
TICK_S = 0.2


@dataclass(frozen=True)
class Replay:
    """What was predicted of a request at each tick, and what requests took."""

    predicted_ms: dict[float, float]
    requests: Sequence[tuple[float, float]]
    hogs_from_s: float
    hogs_until_s: float

    def error(self, at_s: float, since_s: float, until_s: float) -> float:
        """Of the prediction that stood at a time, against the median of the requests between two times."""
        tick_s = max(t for t in self.predicted_ms if t <= at_s)
        measured_ms = statistics.median(ms for end_s, ms in self.requests if since_s < end_s <= until_s)
        return abs(self.predicted_ms[tick_s] / measured_ms - 1)


@pytest.fixture(scope="module", params=["resnet20", "resnet18"])
def replay(request: pytest.FixtureRequest) -> Replay:
    """A recording, gone through the watch in virtual time."""
    recorded: dict[str, Any] = json.loads((RECORDED / f"{request.param}_two_hogs.json").read_text())
    profile = zip(recorded["median_ms"], recorded["p95_ms"], strict=True)
    expected = tuple(
        ExpectedBlock(n, (f"{n}",), "onnxruntime", ms, ms, p95_ms) for n, (ms, p95_ms) in enumerate(profile)
    )
    app = live_app(route=route_of(*(AddBlock() for _ in expected), expected=expected))
    watch = DriftWatch(CorrectionSettings(), 1, 0.0)
    predicted_ms, left = {}, list(reversed(recorded["requests"]))
    for tick in range(1, int(recorded["requests"][-1][0] / TICK_S)):
        now_s = tick * TICK_S
        while left[-1][0] <= now_s:
            at_s, blocks_ms = left.pop()
            run_ms = sum(blocks_ms)
            app.meter.add(Observation(at_s, run_ms, run_ms, True, tuple(blocks_ms), expected))
        watch.look([app], EMPTY_PLAN, Contention(), None, now_s)
        factors = watch.factors()
        times_ms = (block.median_ms * factors.blobs.get(("cam", n, f"{n}"), 1.0) for n, block in enumerate(expected))
        predicted_ms[now_s] = factors.board.median * sum(times_ms)
    totals = [(at_s, sum(blocks_ms)) for at_s, blocks_ms in recorded["requests"]]
    return Replay(predicted_ms, totals, recorded["hogs_from_s"], recorded["hogs_until_s"])


def test_without_a_load_the_prediction_is_right_though_the_profile_is_of_requests_without_a_pause(
    replay: Replay,
) -> None:
    assert replay.error(replay.hogs_from_s, 1.0, replay.hogs_from_s) < 0.1


@pytest.mark.parametrize("after_s", [1.0, 5.0])
def test_a_load_is_in_the_prediction_after_a_second(replay: Replay, after_s: float) -> None:
    begin_s = replay.hogs_from_s
    assert replay.error(begin_s + after_s + TICK_S, begin_s + 1.0, replay.hogs_until_s) < 0.1


def test_that_the_load_has_gone_is_in_the_prediction_after_a_second(replay: Replay) -> None:
    end_s = replay.hogs_until_s
    assert replay.error(end_s + 1.0 + TICK_S, end_s, end_s + 10.0) < 0.1
