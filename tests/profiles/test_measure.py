"""Measuring models: budgets on a scripted clock, what is known already, faults, and one run on real blocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockprofiles.allocator import allocated_bytes_reader
from blockprofiles.bench import random_frame
from blockprofiles.conditions import Conditions
from blockprofiles.device import Device
from blockprofiles.effort import QUICK, STANDARD, Effort
from blockprofiles.listener import Listener, Silent
from blockprofiles.measure import Measurement, disturbed, measure
from blockprofiles.record import PREDICTED, Row
from blockprofiles.rounds import PASSES, WARM_PASSES
from blockprofiles.table import Table, Unusable
from blockprofiles.timing import CHECKPOINT_S
from blockstore.block import Model, TensorSpec
from schedulerd.serving.engines.onnx import OnnxEngine
from tests.alone import alone
from tests.profiles import tiny
from tests.profiles.scripted import (
    Clock,
    Ledger,
    ScriptedBlock,
    ScriptedEngine,
    ScriptedOthers,
    engine_of,
    model_of,
    quiet,
)

DEVICE = Device("cpu", "x86_64", 2, None, 2**30, "scripted", "1.0", 1)
FEW = Effort("few", min_rounds=2, steady_rounds=2, max_rounds=2, uncertainty=1.0, designed=False)


def measured(
    engine: ScriptedEngine,
    *models: Model,
    also: Sequence[ScriptedEngine] = (),
    effort: Effort = STANDARD,
    budget_s: float | None = 5.0,
    table: Table | None = None,
    only: Sequence[str] | None = None,
    batches: Sequence[int] = (1,),
    listener: Listener | None = None,
    conditions: Conditions | None = None,
) -> Measurement:
    """What comes of measuring on a scripted engine."""
    return measure(
        models,
        (engine, *also),
        Path,
        effort=effort,
        budget_s=budget_s,
        now=engine.clock,
        listener=listener or Silent(),
        table=table,
        only=only,
        batches=batches,
        conditions=conditions or quiet(),
    )


def row_of(digest: str, complete: bool = True, **fields: Any) -> Row:
    """A row of the scripted engine."""
    return Row(digest, "scripted", 1, 1.0, 1.0, 1, complete=complete, **fields)


def table_of(*rows: Row, unusable: Sequence[str] = ()) -> Table:
    """A profile of these rows."""
    return Table(DEVICE, rows, "2024-01-01", tuple(Unusable(d, "crashed") for d in unusable))


def knowing(*digests: str) -> Table:
    """A profile in which these are measured."""
    return table_of(*map(row_of, digests))


def test_every_variant_gets_a_row_with_its_own_time() -> None:
    """Times in ms, from blocks that take 1 to 4 ms."""
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.002, "c": 0.003, "d": 0.004})
    rows = measured(engine, model_of(("a", "b"), ("c", "d"))).rows
    assert {row.digest: row.latency_ms for row in rows} == pytest.approx({"a": 1, "b": 2, "c": 3, "d": 4})
    assert all(row.engine == "scripted" and row.threads == 1 and row.memory_bytes > 0 for row in rows)


def test_the_percentile_is_that_of_the_samples() -> None:
    """Medians and 95th percentile come from the samples that are kept with them; the percentile from the cold ones."""
    clock = Clock()
    engine = ScriptedEngine(clock, {"a": ScriptedBlock(clock, 0.002, wobble=1.0)})
    (row,) = measured(engine, model_of(("a",))).rows
    assert sorted(set(row.cold_samples_ms)) == pytest.approx([2.0, 4.0])
    assert row.latency_p95_ms == pytest.approx(4.0)
    assert row.cold_ms == pytest.approx(np.median(row.cold_samples_ms))
    assert row.latency_ms == pytest.approx(np.median(row.samples_ms))


def test_the_budget_is_shared_and_includes_loading() -> None:
    """Three models, one of which loads slowly, end together at the budget."""
    clock = Clock()
    blocks = {name: ScriptedBlock(clock, 0.004, wobble=0.5) for name in "abc"}
    engine = ScriptedEngine(clock, blocks, load_seconds=0.2)
    begin_s = clock()
    rows = measured(engine, *(model_of((name,), name=name) for name in "abc"), budget_s=3.6).rows
    assert 3.5 < clock() - begin_s < 3.7
    assert all(STANDARD.min_rounds < len(row.cold_samples_ms) < 60 for row in rows)


def test_a_budget_too_small_still_gives_rows() -> None:
    """A board is better known a little than not at all."""
    engine = engine_of(Clock(), {"a": 1.0, "b": 1.0})
    rows = measured(engine, model_of(("a", "b")), budget_s=0.1).rows
    assert [len(row.cold_samples_ms) for row in rows] == [STANDARD.min_rounds] * 2
    assert not any(row.complete for row in rows)


def test_known_blobs_are_not_measured_again_but_stand_in() -> None:
    """A block without a new variant takes one known one, so that the others run in whole routes."""
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.001, "c": 0.001, "d": 0.001})
    rows = measured(engine, model_of(("a", "b"), ("c", "d")), table=knowing("a", "c", "d")).rows
    assert [row.digest for row in rows] == ["b"]
    assert set(engine.loaded) == {"b", "c"}


def test_nothing_is_run_when_all_is_known() -> None:
    """Nor loaded."""
    engine = engine_of(Clock(), {"a": 0.001})
    assert measured(engine, model_of(("a",)), table=knowing("a")) == Measurement(())
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
    rows = measured(engine, model_of(("a", "b"), ("c",), exits={"h": (0,)}), table=knowing("a", "b", "c")).rows
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
    assert len(rows[1].cold_samples_ms) == 2 * len(rows[0].cold_samples_ms)


def test_a_variant_that_cannot_be_loaded_is_left_out_by_name() -> None:
    """And marked; the other variants are measured."""
    ledger = Ledger()
    found = measured(engine_of(Clock(), {"a": 0.001, "c": 0.001}), model_of(("a", "rotten"), ("c",)), listener=ledger)
    assert [row.digest for row in found.rows] == ["a", "c"]
    reason = "net: block 0 variant pruned-1 is left out: rotten is rotten"
    assert found.faults == (reason,)
    assert list(found.unusable) == ledger.faults == [Unusable("rotten", reason)]


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
    assert found.faults[-1] == "net: no variant of block 1 runs: it is left out"


def test_progress_grows_to_one_and_the_time_left_falls_to_none() -> None:
    """Over all models."""
    ledger = Ledger()
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.001})
    measured(engine, model_of(("a",)), model_of(("b",), name="other"), listener=ledger)
    assert ledger.shares == sorted(ledger.shares)
    assert ledger.shares[-1] == 1
    assert ledger.lefts_s[-1] == 0
    assert all(left_s is None or left_s <= 5.0 for left_s in ledger.lefts_s)


def test_rows_are_told_every_few_seconds_and_at_the_end() -> None:
    """So that whoever is killed loses little."""
    ledger = Ledger()
    clock = Clock()
    engine = ScriptedEngine(clock, {"a": ScriptedBlock(clock, 0.1 / PASSES)})
    measured(engine, model_of(("a",)), budget_s=None, listener=ledger)
    assert len(ledger.checkpoints) == int(0.1 * (STANDARD.steady_rounds + 1) / CHECKPOINT_S) + 1
    assert [rows[0].complete for rows in ledger.checkpoints] == [False] * (len(ledger.checkpoints) - 1) + [True]
    counts = [len(rows[0].cold_samples_ms) for rows in ledger.checkpoints]
    assert counts == sorted(set(counts))


def test_each_blob_is_announced_before_it_is_touched() -> None:
    """Whoever watches knows which one crashed: the last that began and did not end."""
    ledger = Ledger()
    engine = engine_of(Clock(), {"a": 0.001, "c": 0.001, "h": 0.001})
    measured(engine, model_of(("a", "rotten"), ("c",), exits={"h": (0,)}), listener=ledger)
    loaded, weighed = ["a", "rotten", "c", "h"], ["a", "c", "h"]
    assert ledger.begun == [told for digest in (*loaded, *weighed) for told in (digest, None)]


def test_a_blob_that_crashes_on_more_frames_is_known_by_name() -> None:
    """Whatever runs on the first batch of a size has been announced."""
    ledger, running = Ledger(), []

    class Frames(ScriptedBlock):
        def run(self, tensor: Any) -> Any:
            running.append((len(tensor), ledger.begun[-1]))
            return np.zeros((len(tensor), 2), np.uint8) if super().run(tensor) is not None else None

    clock = Clock()
    engine = ScriptedEngine(clock, {digest: Frames(clock, 0.001) for digest in ("a", "c")})
    measured(engine, model_of(("a",), ("c",)), batches=(1, 4), listener=ledger)
    first = running.index((4, "a"))
    assert all(frames == 1 for frames, _ in running[:first])
    assert (4, "c") in running


def test_a_quick_look_that_takes_far_too_long_leaves_the_other_models_to_predictions() -> None:
    """On a slow board; the first model is measured whatever the time, because predictions need something."""
    clock = Clock()
    engine = engine_of(clock, {"a": 0.5, "b": 0.5}, load_seconds=10.0)
    models = model_of(("a",)), model_of(("b",), name="other")
    found = measured(engine, *models, effort=QUICK, budget_s=1.0)
    assert [row.digest for row in found.rows] == ["a"]
    assert "b" not in engine.loaded
    assert [row.digest for row in measured(engine, *models, budget_s=1.0).rows] == ["a", "b"]


def test_a_measurement_goes_on_where_the_one_before_was_killed() -> None:
    """With its samples, for those that are left."""
    clock = Clock()
    before = row_of("a", complete=False, samples_ms=(3.0,) * WARM_PASSES, cold_samples_ms=(4.0,))
    found = measured(
        ScriptedEngine(clock, {"a": ScriptedBlock(clock, 0.002)}), model_of(("a",)), table=table_of(before)
    )
    (row,) = found.rows
    assert row.samples_ms[:WARM_PASSES] == (3.0,) * WARM_PASSES
    assert row.cold_samples_ms[0] == 4.0
    assert row.complete
    assert len(row.cold_samples_ms) >= STANDARD.steady_rounds


def test_what_was_only_predicted_is_measured() -> None:
    """A row is no reason to leave a blob alone unless somebody timed it."""
    engine = engine_of(Clock(), {"a": 0.002})
    (row,) = measured(engine, model_of(("a",)), table=table_of(row_of("a", source=PREDICTED))).rows
    assert row.latency_ms == pytest.approx(2)


def test_a_blob_that_crashed_is_left_alone() -> None:
    """It is not even loaded as a stand-in."""
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.001})
    found = measured(engine, model_of(("a", "b")), table=table_of(unusable=("a",)))
    assert [row.digest for row in found.rows] == ["b"]
    assert "a" not in engine.loaded


def test_only_what_is_asked_for_is_measured() -> None:
    """Blocks of which nothing is asked run their first variant."""
    engine = engine_of(Clock(), {"a": 0.001, "b": 0.001, "c": 0.001, "d": 0.001})
    found = measured(engine, model_of(("a", "b"), ("c", "d")), only=("b",))
    assert [row.digest for row in found.rows] == ["b"]
    assert set(engine.loaded) == {"b", "c"}


def test_a_quick_look_is_not_all_that_can_be_known() -> None:
    """Whoever has time later goes on with it."""
    engine = engine_of(Clock(), {"a": 0.05})
    (row,) = measured(engine, model_of(("a",)), effort=QUICK).rows
    assert not row.complete
    assert len(row.cold_samples_ms) == QUICK.steady_rounds


def test_each_engine_and_thread_count_has_rows_of_its_own() -> None:
    """For the same blob."""
    clock = Clock()
    one, two = engine_of(clock, {"a": 0.004, "b": 0.002}), engine_of(clock, {"a": 0.003, "b": 0.005})
    two.threads = 2
    rows = measured(one, model_of(("a",), ("b",)), also=(two,)).rows
    found = {(row.digest, row.threads): row.latency_ms for row in rows}
    assert found == pytest.approx({("a", 1): 4, ("b", 1): 2, ("a", 2): 3, ("b", 2): 5})


def test_a_blob_that_only_an_alternate_cannot_run_stays_usable() -> None:
    """It is named all the same."""
    clock = Clock()
    one, two = engine_of(clock, {"a": 0.004}), engine_of(clock, {})
    two.threads = 2
    found = measured(one, model_of(("a",)), also=(two,))
    assert [(row.digest, row.threads) for row in found.rows] == [("a", 1)]
    assert found.unusable == ()
    assert len(found.faults) == 1


def test_batches_have_rows_of_their_own() -> None:
    """Of whole frames repeated; heads are only run on single ones."""
    clock = Clock()
    engine = ScriptedEngine(clock, {"a": BatchBlock(clock, 0.002), "h": ScriptedBlock(clock, 0.001)})
    rows = measured(engine, model_of(("a",), exits={"h": (0,)}), batches=(1, 4)).rows
    assert {(row.digest, row.batch): row.latency_ms for row in rows} == pytest.approx(
        {("a", 1): 2, ("h", 1): 1, ("a", 4): 8}
    )


@dataclass
class BatchBlock(ScriptedBlock):
    """Takes `seconds` for each frame of a batch."""

    def run(self, tensor: Any) -> Any:
        """Let the time pass."""
        self.clock.now_s += self.seconds * len(tensor)
        return tensor


class PowerMeter:
    """A board that takes 5 W while a block of `clock` runs, else 2 W."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def mean_power_w(self, during: Any) -> float:
        """See `Sensor`."""
        before_s = self.clock()
        during()
        return 5.0 if self.clock() > before_s else 2.0


def test_energy_is_the_power_above_idle_for_as_long_as_a_block_runs() -> None:
    """3 W for 2 ms and for 4 ms; without a sensor there is no figure."""
    clock = Clock()
    engine = engine_of(clock, {"a": 0.002, "b": 0.004})
    metered = measured(engine, model_of(("a",), ("b",)), conditions=replace(quiet(), sensor=PowerMeter(clock)))
    assert {row.digest: row.energy_mj for row in metered.rows} == pytest.approx({"a": 6, "b": 12})
    assert {row.energy_mj for row in measured(engine, model_of(("a",), ("b",))).rows} == {None}


def test_a_busy_board_is_told_in_the_rows() -> None:
    """With the share that others had."""
    busy = replace(quiet(), others=ScriptedOthers((0.4,)))
    rows = measured(engine_of(Clock(), {"a": 0.05}), model_of(("a",)), conditions=busy, budget_s=None).rows
    assert [row.others for row in rows] == [0.4]
    assert disturbed(rows)


def test_one_unsteady_row_of_four_is_no_disturbance() -> None:
    """Two are."""
    calm, wild = (Row("a", "scripted", 1, 1.0, 9.0, 1, samples_ms=(1.0,) * 9 + (slow_ms,)) for slow_ms in (1.2, 9.0))
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
        (OnnxEngine(),),
        files.path,
        effort=FEW,
        budget_s=None,
        now=time.perf_counter,
        listener=Silent(),
    )
    assert {row.digest for row in result.rows} == model.digests()
    assert len(result.faults) == 1
    assert "exit exit3 after block 2 is left out" in result.faults[0]
    assert "gives output; a head gives output and confidence" in result.faults[0]


def test_real_blocks_are_measured(tmp_path: Path) -> None:
    """Each takes time and memory, and equal measurements find nearly equal memory."""
    files, models = two_models(tmp_path)
    first, again = alone(measured_twice, files, models)
    assert first.faults == ()
    assert {row.digest for row in first.rows} == models[0].digests() | models[1].digests()
    assert {row.batch for row in first.rows} == {1, 3}
    assert all(0 < row.latency_ms <= row.latency_p95_ms for row in first.rows)
    assert all(0 < row.arena_bytes < 2_000_000 for row in first.rows)
    assert all(10_000 < row.memory_bytes < 1_000_000 for row in first.rows)
    memory_bytes, same_bytes = (sum(row.memory_bytes for row in m.rows) for m in (first, again))
    assert memory_bytes == pytest.approx(same_bytes, rel=0.3)


def two_models(folder: Path) -> tuple[tiny.Files, tuple[Model, Model]]:
    """Of unequal weights."""
    files = tiny.Files(folder)
    return files, (tiny.tiny_model(files), tiny.tiny_model(files, "second", seed=7))


def measured_twice(files: tiny.Files, models: Sequence[Model]) -> tuple[Measurement, Measurement]:
    """The same measurement, by a worker as the daemon starts one: a process that does nothing else."""
    engine = OnnxEngine()
    first, again = (
        measure(
            models,
            (engine,),
            files.path,
            effort=FEW,
            budget_s=None,
            now=time.perf_counter,
            listener=Silent(),
            batches=(1, 3),
        )
        for _ in range(2)
    )
    return first, again
