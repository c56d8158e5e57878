"""The store's models with their profile as options: what can be used is offered, and costs what was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blockprofiles.contention import Slowdown
from blockprofiles.record import FOREIGN, Row
from blockstore.accuracy_model import WEIBULL, AccuracyModel, Evidence
from blockstore.block import Artifact, Variant
from blockstore.exits import NO_EXITS
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.factors import Factors
from schedulerd.control.policies import Observed
from schedulerd.errors import StoreFault
from tests.control.tables import table_of
from tests.control.test_policies import CAM, CAPPED, EARLY, HEADS, LATE, MODEL

BLOCKS = [Row(f"b{index}", "onnxruntime", 1, 2.0, 3.0, 10_000, arena_bytes=500 * index) for index in range(4)]
CATALOGUE = Catalogue({"m": MODEL}, table_of(*BLOCKS, *HEADS.values()), "onnxruntime")


def offered(catalogue: Catalogue) -> list[str]:
    return [option.policy.name for option in catalogue.options(CAM).policies]


def test_blocks_and_policies_of_a_model_become_an_apps_options() -> None:
    options = CATALOGUE.options(CAM)
    assert [[o.digest for o in block] for block in options.blocks] == [["b0"], ["b1"], ["b2"], ["b3"]]
    assert [[(o.memory_bytes, o.arena_bytes) for o in block] for block in options.blocks] == [
        [(10_000, 0)],
        [(10_000, 500)],
        [(10_000, 1000)],
        [(10_000, 1500)],
    ]
    assert [option.policy for option in options.policies] == [NO_EXITS, EARLY, CAPPED, LATE]


@pytest.mark.parametrize(
    "catalogue",
    [
        replace(CATALOGUE, broken=frozenset({"head0"})),
        replace(CATALOGUE, table=table_of(*BLOCKS, HEADS["exit1"])),
    ],
    ids=["damaged", "not measured"],
)
def test_policies_with_a_head_that_cannot_be_used_are_not_offered(catalogue: Catalogue) -> None:
    assert offered(catalogue) == ["none", "late"]


def test_heads_without_a_form_for_the_engine_are_not_offered() -> None:
    exits = tuple(replace(exit_, artifacts=()) for exit_ in MODEL.exits)
    assert offered(replace(CATALOGUE, models={"m": replace(MODEL, exits=exits)})) == ["none"]


def test_what_was_seen_of_an_apps_frames_is_in_its_options() -> None:
    options = CATALOGUE.options(CAM, Observed(LATE, {"exit1": 0.2}))
    assert options.policies[-1].shares == pytest.approx((0.2, 0.8))


def test_times_are_those_that_are_expected_now() -> None:
    factors = Factors(Slowdown(1.5, 2.0), blobs={("cam", 1, "b1"): 2.0})
    options = CATALOGUE.options(CAM, None, factors)
    times = [(block[0].latency_ms, block[0].latency_p95_ms) for block in options.blocks]
    assert times == [(3.0, 6.0), (6.0, 12.0), (3.0, 6.0), (3.0, 6.0)]
    plain = CATALOGUE.options(CAM).policies[1]
    assert options.policies[1].heads_ms == pytest.approx([1.5 * ms for ms in plain.heads_ms])
    assert options.policies[1].heads_p95_ms == pytest.approx([2.0 * ms for ms in plain.heads_p95_ms])


def test_preparing_a_frame_is_part_of_the_first_block() -> None:
    """It runs before it on the same lane, and nothing comes between; the board's load is in its own measurement."""
    factors = Factors(Slowdown(1.5, 2.0))
    options = CATALOGUE.options(replace(CAM, prepare_ms=0.5), None, factors)
    times = [(block[0].latency_ms, block[0].latency_p95_ms) for block in options.blocks]
    assert times == [(3.5, 6.5), (3.0, 6.0), (3.0, 6.0), (3.0, 6.0)]


def with_torch(table_rows: list[Row], **fields: Any) -> Catalogue:
    """`CATALOGUE` where the first block has a form for torch, `t0`, too."""
    first = MODEL.blocks[0]
    variant = replace(first.variants[0], artifacts=(*first.variants[0].artifacts, Artifact("torch", "t0", 1)))
    model = replace(MODEL, blocks=(replace(first, variants=(variant,)), *MODEL.blocks[1:]))
    rows = table_of(*BLOCKS, *HEADS.values(), *table_rows)
    return replace(CATALOGUE, models={"m": model}, table=rows, **{"also": frozenset({"torch"}), **fields})


TORCH = Row("t0", "torch", 1, 1.5, 3.0, 20_000)


def forms(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Blob and engine of each option of the first block."""
    return [(o.digest, o.engine) for o in catalogue.options(CAM).blocks[0]]


def test_a_variant_that_two_engines_can_run_is_two_options() -> None:
    both = with_torch([TORCH])
    assert forms(both) == [("b0", "onnxruntime"), ("t0", "torch")]
    assert {o.variant for o in both.options(CAM).blocks[0]} == {"original"}


def test_of_two_forms_the_quicker_one_is_shown_to_an_operator() -> None:
    catalogue = with_torch([TORCH])
    assert [row.digest for _, row in catalogue.measured(catalogue.models["m"].blocks[0])] == ["t0"]


def test_live_timings_of_an_engine_are_in_its_form_alone() -> None:
    first = with_torch([TORCH]).options(CAM, None, Factors(engines={("cam", 0, "torch"): 1.5})).blocks[0]
    assert [o.latency_ms for o in first] == [2.0, 2.25]


def test_an_engine_that_is_not_there_or_was_timed_elsewhere_runs_nothing() -> None:
    onnxruntime = [("b0", "onnxruntime")]
    assert forms(with_torch([TORCH], also=frozenset())) == onnxruntime
    assert forms(with_torch([TORCH], broken=frozenset({"t0"}))) == onnxruntime
    assert forms(with_torch([])) == onnxruntime
    assert forms(with_torch([replace(TORCH, source=FOREIGN)])) == onnxruntime
    assert forms(with_torch([TORCH], broken=frozenset({"b0"}))) == [("t0", "torch")]


def test_energies_are_the_profiles_where_it_has_them() -> None:
    rows = [replace(BLOCKS[0], energy_mj=4.0), *BLOCKS[1:]]
    heads = [replace(row, energy_mj=0.5) for row in HEADS.values()]
    options = replace(CATALOGUE, table=table_of(*rows, *heads)).options(CAM)
    assert [block[0].energy_mj for block in options.blocks] == [4.0, None, None, None]
    assert options.policies[1].heads_mj == (0.5, 0.5, 0.0, 0.0)


def with_accuracy_model(catalogue: Catalogue) -> Catalogue:
    """Where the first block's original does no damage, a second variant `s0` 0.2, and every other block none."""
    model = catalogue.models["m"]
    first = model.blocks[0]
    small = Variant("small", "prune", (Artifact("onnxruntime", "s0", 1),), 0.02, 1, 1)
    known = AccuracyModel(
        kind=WEIBULL,
        original=0.9,
        floor=0.1,
        shape=1.5,
        damages=((0.0, 0.2), (0.0,), (0.0,), (0.0,)),
        cosines=(),
        error=0.01,
        evidence=(Evidence((1, 0, 0, 0), 0.8, checked=True),),
    )
    blocks = (replace(first, variants=(*first.variants, small)), *model.blocks[1:])
    table = replace(catalogue.table, rows=(*catalogue.table.rows, Row("s0", "onnxruntime", 1, 1.0, 1.5, 5_000)))
    return replace(catalogue, models={"m": replace(model, blocks=blocks, accuracy_model=known)}, table=table)


def damages(catalogue: Catalogue) -> tuple[float, ...]:
    """Of the first block's options, in their order."""
    accuracy = catalogue.options(CAM).accuracy
    assert accuracy is not None
    return accuracy.damages[0]


def test_the_accuracy_model_has_one_damage_for_each_option() -> None:
    known = with_accuracy_model(CATALOGUE)
    assert damages(known) == (0.0, 0.2)
    assert damages(with_accuracy_model(with_torch([TORCH]))) == (0.0, 0.0, 0.2)
    assert damages(replace(known, broken=frozenset({"b0"}))) == (0.2,)
    assert CATALOGUE.options(CAM).accuracy is None


def test_what_the_accuracy_model_was_fitted_to_stays_in_the_store() -> None:
    accuracy = with_accuracy_model(CATALOGUE).options(CAM).accuracy
    assert accuracy is not None
    assert (accuracy.evidence, accuracy.error) == ((), 0.01)


def test_a_block_without_a_usable_variant_is_a_store_fault() -> None:
    with pytest.raises(StoreFault, match="block 2"):
        replace(CATALOGUE, broken=frozenset({"b2"})).options(CAM)
