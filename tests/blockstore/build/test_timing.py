"""Timing: which variants are left out for what was timed, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blockstore.accuracy_model import LINEAR, AccuracyModel, Evidence
from blockstore.block import ORIGINAL, Artifact, Block, Model, TensorSpec, Variant
from blockstore.build.built import Timed
from blockstore.build.timing import DISTURBED, Chosen, choose
from blockstore.build.variants import Dropped

SPEC = TensorSpec("uint8", (4,))
NAMES = (ORIGINAL, "half", "twin", "int8")
DAMAGES = (0.0, 0.1, 0.2, 0.05)


def variant(block: int, name: str) -> Variant:
    return Variant(name, name, (Artifact("onnxruntime", f"{block} {name}", 100),), 0.0, 10, 100)


KNOWN = AccuracyModel(LINEAR, 0.9, 0.0, 0.0, (DAMAGES, DAMAGES), (), None, (Evidence((3, 1), 0.75, False),))
MODEL = Model(
    name="tiny",
    input=SPEC,
    output=SPEC,
    accuracy=0.9,
    evaluated_images=10,
    blocks=tuple(Block(b, f"part{b}", SPEC, SPEC, tuple(variant(b, n) for n in NAMES)) for b in range(2)),
    accuracy_model=KNOWN,
)
ALL: Mapping[str, float] = {f"{b} {n}": ms for b in range(2) for n, ms in zip(NAMES, (4.0, 2.0, 1.0, 3.0), strict=True)}


def chosen(without: tuple[str, ...] = (), faults: tuple[str, ...] = (), **changed: float) -> Chosen:
    """What comes of times like `ALL`."""
    times = {digest: ms for digest, ms in ALL.items() if digest not in without}
    return choose(MODEL, KNOWN, Timed(times | {d.replace("_", " "): ms for d, ms in changed.items()}, faults, False))


def names(found: Chosen) -> list[list[str]]:
    return [[v.name for v in block.variants] for block in found.model.blocks]


def test_what_runs_and_has_a_merit_stays_with_its_latency() -> None:
    found = chosen()
    assert found == Chosen(MODEL, ((4.0, 2.0, 1.0, 3.0),) * 2)


def test_a_variant_that_does_not_run_is_left_out_with_what_the_engine_said() -> None:
    fault = "tiny: block 0 variant int8 is left out: no such operator"
    found = chosen(without=("0 int8", "1 half"), faults=("tiny: block 1 variant int8 is fine", fault))
    assert names(found) == [[ORIGINAL, "half", "twin"], [ORIGINAL, "twin", "int8"]]
    assert found.left_out == (Dropped(0, "int8", fault), Dropped(1, "half", "it was not timed"))
    assert found.latencies_ms == ((4.0, 2.0, 1.0), (4.0, 1.0, 3.0))


def test_what_is_known_of_accuracy_goes_with_the_variants() -> None:
    known = chosen(without=("0 half",)).model.accuracy_model
    assert known is not None
    assert known.damages == ((0.0, 0.2, 0.05), DAMAGES)
    assert [e.route for e in known.evidence] == [(2, 1)]


def test_a_variant_that_does_not_run_beats_no_other() -> None:
    slower = {"1_twin": 2.5}
    assert "twin" not in names(chosen(**slower))[1]
    assert names(chosen(without=("1 half",), **slower))[1] == [ORIGINAL, "twin", "int8"]


def test_slower_larger_and_worse_is_left_out_by_name() -> None:
    found = chosen(**{"1_twin": 2.5})
    reason = "slower (2.500 against 2.000 ms), no smaller and no more accurate than half"
    assert found.left_out == (Dropped(1, "twin", reason, beaten_by="half"),)
    assert names(found) == [list(NAMES), [ORIGINAL, "half", "int8"]]


def test_where_an_original_has_no_time_all_variants_stay_and_a_remark_says_why() -> None:
    fault = "tiny: no variant of block 1 runs on onnxruntime: it is left out"
    found = chosen(without=tuple(ALL), faults=(fault,))
    assert found.model == MODEL
    assert found.latencies_ms == ()
    assert found.left_out == ()
    assert found.remarks == (f"latency could not be measured: {fault}",)
    assert chosen(without=("1 original",)).latencies_ms == ()


def test_a_disturbed_measurement_is_said() -> None:
    found = choose(MODEL, KNOWN, Timed(ALL, (), disturbed=True))
    assert found.remarks == (DISTURBED,)
    assert replace(found, remarks=()) == chosen()
