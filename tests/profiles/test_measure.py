"""Measuring models: budgets on a scripted clock, faults, and one run on real blocks."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockprofiles.allocator import allocated_bytes_reader
from blockprofiles.bench import random_frame
from blockprofiles.measure import Measurement, disturbed, measure
from blockprofiles.record import Row
from blockprofiles.rounds import MIN_ROUNDS
from blockstore.block import Model, TensorSpec
from schedulerd.serving.engines.onnx import OnnxEngine
from tests.profiles import tiny
from tests.profiles.scripted import Clock, ScriptedBlock, ScriptedEngine, engine_of, model_of


def measured(engine: ScriptedEngine, *models: Model, budget_s: float = 5.0, known: tuple[str, ...] = ()) -> Measurement:
    """What comes of measuring on a scripted engine."""
    return measure(
        models,
        engine,
        Path,
        threads=1,
        budget_s=budget_s,
        now=engine.clock,
        progress=lambda share: None,
        known=known,
    )


def test_every_variant_gets_a_row_with_its_own_time() -> None:
    """Times in ms, from blocks that take 1 to 4 ms."""
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.002, "c": 0.003, "d": 0.004})
    rows = measured(engine, model_of(("a", "b"), ("c", "d"))).rows
    assert {row.digest: row.latency_ms for row in rows} == pytest.approx({"a": 1, "b": 2, "c": 3, "d": 4})
    assert all(row.engine == "scripted" and row.threads == 1 and row.memory_bytes > 0 for row in rows)


def test_the_percentile_is_that_of_the_samples() -> None:
    """Median and 95th percentile come from the samples that are kept with them."""
    clock = Clock()
    engine = ScriptedEngine(clock, {"a": ScriptedBlock(clock, 0.002, wobble=1.0)})
    (row,) = measured(engine, model_of(("a",))).rows
    assert sorted(set(row.samples_ms)) == pytest.approx([2.0, 4.0])
    assert row.latency_p95_ms == pytest.approx(4.0)
    assert row.latency_ms == pytest.approx(np.median(row.samples_ms))


def test_the_budget_is_shared_and_includes_loading() -> None:
    """Three models, one of which loads slowly, end together at the budget."""
    clock = Clock()
    blocks = {name: ScriptedBlock(clock, 0.004, wobble=0.5) for name in "abc"}
    engine = ScriptedEngine(clock, blocks, load_seconds=0.2)
    begin_s = clock()
    rows = measured(engine, *(model_of((name,), name=name) for name in "abc"), budget_s=2.4).rows
    assert 2.3 < clock() - begin_s < 2.5
    assert all(MIN_ROUNDS < len(row.samples_ms) < 120 for row in rows)


def test_a_budget_too_small_still_gives_rows() -> None:
    """A board is better known a little than not at all."""
    engine = engine_of(Clock(), {"a": 1.0, "b": 1.0})
    rows = measured(engine, model_of(("a", "b")), budget_s=0.1).rows
    assert [len(row.samples_ms) for row in rows] == [MIN_ROUNDS, MIN_ROUNDS]


def test_known_blobs_are_not_measured_again_but_stand_in() -> None:
    """A block without a new variant takes one known one, so that the others run in whole routes."""
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.001, "c": 0.001, "d": 0.001})
    rows = measured(engine, model_of(("a", "b"), ("c", "d")), known=("a", "c", "d")).rows
    assert [row.digest for row in rows] == ["b"]
    assert set(engine.loaded) == {"b", "c"}


def test_nothing_is_run_when_all_is_known() -> None:
    """Nor loaded."""
    engine = engine_of(Clock(), {"a": 0.001})
    assert measured(engine, model_of(("a",)), known=("a",)) == Measurement((), ())
    assert engine.loaded == []


def test_a_head_is_measured_after_its_block_with_the_tensors_that_it_takes() -> None:
    """Its own time, not that of the block before it; and it is fed what the blocks that it names gave."""
    clock = Clock()
    engine = engine_of(clock, {"a": 0.001, "b": 0.002, "c": 0.003, "h": 0.004, "k": 0.005})
    rows = measured(engine, model_of(("a", "b"), ("c",), exits={"h": (0,), "k": (0, 1)})).rows
    assert {row.digest: row.latency_ms for row in rows} == pytest.approx({"a": 1, "b": 2, "c": 3, "h": 4, "k": 5})
    assert len(engine.heads["h"].taken) == 1
    assert len(engine.heads["k"].taken) == 2


def test_a_head_that_lacks_is_measured_alone() -> None:
    """Its blocks are known: one of each stands in."""
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.002, "c": 0.003, "h": 0.004})
    rows = measured(engine, model_of(("a", "b"), ("c",), exits={"h": (0,)}), known=("a", "b", "c")).rows
    assert [row.digest for row in rows] == ["h"]
    assert rows[0].latency_ms == pytest.approx(4)


def test_a_head_that_fails_is_named_and_its_block_is_measured() -> None:
    """Here one that cannot be loaded."""
    engine = engine_of(Clock(), {"a": 0.001, "c": 0.003})
    result = measured(engine, model_of(("a",), ("c",), exits={"h": (0,)}))
    assert [row.digest for row in result.rows] == ["a", "c"]
    assert result.faults == ("net: exit exith after block 0 is left out: h is rotten",)


def test_a_head_that_gives_another_shape_than_the_network_is_left_out() -> None:
    """A client could not tell its answer from others."""
    clock = Clock()
    engine = engine_of(clock, {"a": 0.001, "c": 0.003})
    engine = ScriptedEngine(clock, {**engine.blocks, "h": ScriptedBlock(clock, 0.001, shape=(1, 3))})
    (fault,) = measured(engine, model_of(("a",), ("c",), exits={"h": (0,)})).faults
    assert fault.endswith("its output is (1, 3), not (1, 2)")


def test_a_blob_of_two_models_has_one_row() -> None:
    """The second model finds it known."""
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.002, "shared": 0.003})
    models = (model_of(("a",), ("shared",)), model_of(("b",), ("shared",), name="other"))
    assert [row.digest for row in measured(engine, *models).rows] == ["a", "shared", "b"]


def test_a_blob_at_two_places_of_a_model_has_one_row() -> None:
    """Its samples are of both places."""
    engine = engine_of(Clock(), {"a": 0.001, "twice": 0.003})
    rows = measured(engine, model_of(("a",), ("twice",), ("twice",))).rows
    assert [row.digest for row in rows] == ["a", "twice"]
    assert len(rows[1].samples_ms) == 2 * len(rows[0].samples_ms)


def test_a_variant_that_cannot_be_loaded_is_left_out_by_name() -> None:
    """The other variants are measured."""
    found = measured(engine_of(Clock(), {"a": 0.001, "c": 0.001}), model_of(("a", "rotten"), ("c",)))
    assert [row.digest for row in found.rows] == ["a", "c"]
    assert found.faults == ("net: block 0 variant pruned-1 is left out: rotten is rotten",)


def test_a_variant_with_another_output_shape_is_left_out() -> None:
    """It would break the routes it stands in."""
    clock = Clock()
    blocks = {"a": ScriptedBlock(clock, 0.001), "wide": ScriptedBlock(clock, 0.001, shape=(1, 3))}
    found = measured(ScriptedEngine(clock, blocks), model_of(("a", "wide"), ("a",)))
    assert [row.digest for row in found.rows] == ["a"]
    assert "output is (1, 3), not (1, 2)" in found.faults[0]


def test_a_model_without_a_runnable_block_does_not_keep_others_from_a_profile() -> None:
    """It is named, and has no rows."""
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.001})
    found = measured(engine, model_of(("a",), ("rotten",)), model_of(("b",), name="sound"))
    assert [row.digest for row in found.rows] == ["b"]
    assert found.faults[-1] == "net: no variant of block 1 runs on scripted: it is left out"


def test_progress_reaches_one() -> None:
    """Over all models."""
    told: list[float] = []
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.001})
    measure(
        [model_of(("a",)), model_of(("b",), name="other")],
        engine,
        Path,
        threads=1,
        budget_s=5,
        now=engine.clock,
        progress=told.append,
    )
    assert told == sorted(told)
    assert told[-1] == 1


def test_one_unsteady_row_of_four_is_no_disturbance() -> None:
    """Two are."""
    calm, wild = (Row("a", "scripted", 1, 1.0, p95_ms, 1) for p95_ms in (1.2, 1.6))
    assert not disturbed([calm, calm, calm, wild])
    assert disturbed([calm, calm, wild, wild])
    assert not disturbed([])


class HoardingBlock(ScriptedBlock):
    """Keeps a megabyte from when it is loaded and three from its first run on."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, seconds=0.001)
        self.weights = bytearray(1_000_000)
        self.scratch = bytearray()

    def run(self, tensor: Any) -> Any:
        """Take memory, then time."""
        self.scratch = self.scratch or bytearray(3_000_000)
        return super().run(tensor)


class HoardingEngine(ScriptedEngine):
    """Every blob is a `HoardingBlock`."""

    def load(self, path: Path) -> ScriptedBlock:
        """A new one each time."""
        return HoardingBlock(self.clock)


@pytest.mark.skipif(allocated_bytes_reader() is None, reason="this C library does not tell what it has handed out")
def test_memory_is_what_loading_and_running_add() -> None:
    """Engines make their scratch memory at the first run."""
    (row,) = measured(HoardingEngine(Clock(), {}), model_of(("a",))).rows
    assert row.memory_bytes == pytest.approx(4_000_000, rel=0.05)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "float32"])
def test_frames_are_of_the_models_input(dtype: str) -> None:
    """With a batch of one, and not all alike."""
    frame = random_frame(TensorSpec(dtype, (16, 16, 3)))
    assert frame.shape == (1, 16, 16, 3)
    assert frame.dtype == dtype
    assert len(np.unique(frame)) > 100


def test_real_heads_are_measured(tmp_path: Path) -> None:
    """Of a model with an exit of one tensor and one of two; a head for other features is named and left out."""
    files = tiny.Files(tmp_path)
    model = tiny.model_with_exits(files)
    unfit = tiny.exit_of(2, files.put(tiny.head(4)), (2,))
    result = measure(
        (replace(model, exits=(*model.exits, unfit)),),
        OnnxEngine(),
        files.path,
        threads=1,
        budget_s=0.2,
        now=time.perf_counter,
        progress=lambda share: None,
    )
    assert {row.digest for row in result.rows} == model.digests()
    assert len(result.faults) == 1
    assert "exit exit3 after block 2 is left out" in result.faults[0]
    assert "gives output; a head gives output and confidence" in result.faults[0]


def test_real_blocks_are_measured(tmp_path: Path) -> None:
    """Each takes time and memory, and equal measurements find nearly equal memory."""
    files = tiny.Files(tmp_path)
    models = (tiny.tiny_model(files), tiny.tiny_model(files, "second", seed=7))
    engine = OnnxEngine()
    first, again = (
        measure(
            models,
            engine,
            files.path,
            threads=1,
            budget_s=0.2,
            now=time.perf_counter,
            progress=lambda share: None,
        )
        for _ in range(2)
    )
    assert first.faults == ()
    assert {row.digest for row in first.rows} == models[0].digests() | models[1].digests()
    assert all(0 < row.latency_ms <= row.latency_p95_ms for row in first.rows)
    assert all(10_000 < row.memory_bytes < 1_000_000 for row in first.rows)
    memory_bytes, same_bytes = (sum(row.memory_bytes for row in m.rows) for m in (first, again))
    assert memory_bytes == pytest.approx(same_bytes, rel=0.3)
