"""Curves of what company does, on scripted routes and on a real one."""

from __future__ import annotations

import os
import time
from pathlib import Path

from blockprofiles.contention import Contention, Point, Slowdown
from blockprofiles.effort import QUICK
from blockprofiles.loads import measure_contention
from schedulerd.serving.engines.onnx import OnnxEngine
from tests.profiles import tiny
from tests.profiles.scripted import Clock, engine_of, model_of

CORES = os.sched_getaffinity(0)


def test_a_real_route_is_measured_beside_lanes_and_hogs(tmp_path: Path) -> None:
    """Loads rise, an undisturbed lane is the measure, and the load of others is what they got."""
    files = tiny.Files(tmp_path)
    models = (tiny.tiny_model(files),)
    found = measure_contention(models, OnnxEngine(), files.path, cores=CORES, effort=QUICK, now=time.perf_counter)
    assert found.lanes[0] == Point(1, Slowdown())
    assert [point.load for point in found.lanes][-1] == len(CORES)
    assert found.others[0] == Point(0, Slowdown())
    loads = [point.load for point in found.others]
    assert loads == sorted(loads)
    assert 0 < loads[-1] <= 1
    assert all(min(p.slowdown.median, p.slowdown.p95) >= 1 for p in (*found.lanes, *found.others))


def test_a_store_without_a_route_that_runs_has_no_curves() -> None:
    """Nothing is started for it."""
    engine = engine_of(Clock(), {})
    models = (model_of(("rotten",)),)
    assert measure_contention(models, engine, Path, cores=CORES, effort=QUICK, now=engine.clock) == Contention()
    assert measure_contention((), engine, Path, cores=CORES, effort=QUICK, now=engine.clock) == Contention()


def test_the_next_model_stands_in_for_one_that_does_not_run() -> None:
    """Here on one core that no lane shares, so that nothing runs at the same time."""
    clock = Clock()
    engine = engine_of(clock, {"sound": 0.001})
    models = (model_of(("rotten",), name="a"), model_of(("sound",), name="b"))
    found = measure_contention(models, engine, Path, cores={max(CORES)}, effort=QUICK, now=clock)
    assert found.lanes == (Point(1, Slowdown()),)
    assert engine.blocks["sound"].runs > 10


def test_affinity_is_as_it_was() -> None:
    """For whoever measures next."""
    engine = engine_of(Clock(), {"a": 0.01})
    measure_contention((model_of(("a",)),), engine, Path, cores={max(CORES)}, effort=QUICK, now=engine.clock)
    assert os.sched_getaffinity(0) == CORES
