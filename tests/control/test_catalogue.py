"""The store's models with their profile as options: what can be used is offered, and costs what was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blockprofiles.contention import Slowdown
from blockprofiles.record import FOREIGN, Row
from blockstore.block import Artifact
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


def with_torch(table_rows: list[Row], **fields: Any) -> Catalogue:
    """`CATALOGUE` where the first block has a form for torch, `t0`, too."""
    first = MODEL.blocks[0]
    variant = replace(first.variants[0], artifacts=(*first.variants[0].artifacts, Artifact("torch", "t0", 1)))
    model = replace(MODEL, blocks=(replace(first, variants=(variant,)), *MODEL.blocks[1:]))
    rows = table_of(*BLOCKS, *HEADS.values(), *table_rows)
    return replace(CATALOGUE, models={"m": model}, table=rows, **{"also": frozenset({"torch"}), **fields})


TORCH = Row("t0", "torch", 1, 1.5, 3.0, 20_000)


def chosen(catalogue: Catalogue, factors: Factors = Factors()) -> str:  # noqa: B008 - frozen
    (option,) = catalogue.options(CAM, None, factors).blocks[0]
    return option.digest


def test_of_two_engines_the_quicker_one_runs_a_block() -> None:
    assert chosen(with_torch([TORCH])) == "t0"
    assert chosen(with_torch([replace(TORCH, latency_ms=2.5)])) == "b0"
    assert [row.digest for _, row in with_torch([TORCH]).measured(with_torch([TORCH]).models["m"].blocks[0])] == ["t0"]


def test_an_engine_that_live_timings_show_to_be_slower_gives_way() -> None:
    assert chosen(with_torch([TORCH]), Factors(engines={("cam", 0, "torch"): 1.5})) == "b0"


def test_an_engine_that_is_not_there_or_was_timed_elsewhere_runs_nothing() -> None:
    assert chosen(with_torch([TORCH], also=frozenset())) == "b0"
    assert chosen(with_torch([TORCH], broken=frozenset({"t0"}))) == "b0"
    assert chosen(with_torch([])) == "b0"
    assert chosen(with_torch([replace(TORCH, source=FOREIGN)])) == "b0"
    assert chosen(with_torch([TORCH], broken=frozenset({"b0"}))) == "t0"


def test_a_block_without_a_usable_variant_is_a_store_fault() -> None:
    with pytest.raises(StoreFault, match="block 2"):
        replace(CATALOGUE, broken=frozenset({"b2"})).options(CAM)
