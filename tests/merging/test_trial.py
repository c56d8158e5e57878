"""A trial: what it compares, and what it concludes from scripted times."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schedulerd.merging.trial import tried
from schedulerd.merging.verdict import Run, TrialJob, Verdict
from schedulerd.serving.engines.onnx import OnnxEngine
from tests.profiles import tiny

BLOCK_S = 0.001


@dataclass
class Script:
    """An engine whose sessions take the seconds that they are told, on a clock that only they move."""

    merged_s: float = BLOCK_S
    """Of a merged session."""
    jitter_s: float = 0.0
    """Every other run of a session takes so much longer."""
    distort: float = 0.0
    """Share by which the output of merged sessions is wrong."""
    now_s: float = 0.0
    alive: int = 0
    real: OnnxEngine = field(default_factory=OnnxEngine)

    def load(self, path: Path) -> Any:
        return _Timed(self, self.real.load(path), merged=path.suffix == ".onnx")

    def feed(self, array: Any) -> Any:
        return self.real.feed(array)

    def now(self) -> float:
        return self.now_s

    def tick(self) -> None:
        self.alive += 1


class _Timed:
    def __init__(self, script: Script, block: Any, *, merged: bool) -> None:
        self._script, self._block, self._merged = script, block, merged
        self._runs = 0

    def run(self, tensor: Any) -> Any:
        script = self._script
        self._runs += 1
        script.now_s += (script.merged_s if self._merged else BLOCK_S) + script.jitter_s * (self._runs % 2)
        output = self._block.run(tensor)
        return output * (1 + script.distort) if self._merged else output


@pytest.fixture
def job(tmp_path: Path) -> TrialJob:
    """A route of four blocks, of which the middle two may be merged."""
    middle = [np.random.default_rng(seed).standard_normal((4, 4, 3, 3)).astype(np.float32) for seed in (1, 2)]
    blocks = [tiny.stem(4), *map(tiny.convolution, middle), tiny.head(4)]
    for number, data in enumerate(blocks):
        (tmp_path / str(number)).write_bytes(data)
    paths = tuple(tmp_path / str(number) for number in range(4))
    return TrialJob(1, tiny.FRAME, paths, (Run(1, 3),), (tmp_path / "merged" / "a.onnx",), budget_s=5.0)


def verdict_of(job: TrialJob, script: Script) -> Verdict:
    (verdict,) = tried(job, script, script.now, script.tick)
    return verdict


def test_a_session_that_takes_less_than_its_blocks_is_faster(job: TrialJob) -> None:
    verdict = verdict_of(job, Script(merged_s=1.8 * BLOCK_S))
    assert verdict.faster
    assert verdict.chain_ms == pytest.approx(2.0)
    assert verdict.merged_ms == pytest.approx(1.8)
    assert verdict.memory_bytes > 0
    assert job.files[0].exists()


def test_the_other_blocks_of_the_route_do_not_count(job: TrialJob) -> None:
    """Four blocks run, two are timed."""
    whole = replace(job, runs=(Run(0, 4),))
    assert verdict_of(whole, Script()).chain_ms == pytest.approx(4.0)
    assert verdict_of(job, Script()).chain_ms == pytest.approx(2.0)


@pytest.mark.parametrize(
    "script",
    [Script(merged_s=2.2 * BLOCK_S), Script(merged_s=1.99 * BLOCK_S), Script(1.9 * BLOCK_S, jitter_s=4 * BLOCK_S)],
    ids=["slower", "by less than it is worth", "by less than is certain"],
)
def test_what_is_not_clearly_faster_is_refused_and_not_kept(job: TrialJob, script: Script) -> None:
    verdict = verdict_of(job, script)
    assert not verdict.faster
    assert not verdict.fault
    assert not job.files[0].exists()


@pytest.mark.parametrize("distort", [0.01, np.nan], ids=["wrong", "not a number"])
def test_a_session_with_another_output_is_refused(job: TrialJob, distort: float) -> None:
    verdict = verdict_of(job, Script(merged_s=BLOCK_S, distort=distort))
    assert "differs from that of its blocks" in verdict.fault
    assert not job.files[0].exists()


def test_each_run_of_a_route_has_its_own_verdict(job: TrialJob) -> None:
    """The second one is composed of blocks that cannot be one."""
    older = tiny.onnx.load_from_string(job.blobs[3].read_bytes())
    older.opset_import[0].version = 17
    job.blobs[3].write_bytes(older.SerializeToString())
    both = replace(job, runs=(Run(0, 2), Run(2, 4)), files=(job.files[0], job.files[0].with_name("b.onnx")))
    script = Script(merged_s=BLOCK_S)
    first, second = tried(both, script, script.now, script.tick)
    assert first.faster
    assert "operator set" in second.fault


def test_it_shows_again_and_again_that_it_goes_on(job: TrialJob) -> None:
    script = Script()
    verdict_of(job, script)
    assert script.alive > 100


def test_timing_ends_when_its_time_is_up(job: TrialJob) -> None:
    """However uncertain the medians are."""
    script = Script(merged_s=BLOCK_S, jitter_s=1.0)
    verdict_of(replace(job, budget_s=1.0), script)
    assert script.now_s < 200, "five rounds of eight passes of four blocks, every other one a second longer"


def test_real_sessions_are_compared_and_timed(job: TrialJob) -> None:
    """Whatever the times are on this machine."""
    engine = OnnxEngine()
    times = iter(range(10**6))
    (verdict,) = tried(job, engine, lambda: next(times), lambda: None)
    assert not verdict.fault
    assert verdict.chain_ms > 0
