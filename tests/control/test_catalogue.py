"""The store's models with their profile as options: what can be used is offered, and costs what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockprofiles.record import Row
from blockstore.exits import NO_EXITS
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.policies import Observed
from schedulerd.errors import StoreFault
from tests.control.tables import table_of
from tests.control.test_policies import CAM, CAPPED, EARLY, HEADS, LATE, MODEL

BLOCKS = [Row(f"b{index}", "onnxruntime", 1, 2.0, 3.0, 10_000) for index in range(4)]
CATALOGUE = Catalogue({"m": MODEL}, table_of(*BLOCKS, *HEADS.values()), "onnxruntime")


def offered(catalogue: Catalogue) -> list[str]:
    return [option.policy.name for option in catalogue.options(CAM).policies]


def test_blocks_and_policies_of_a_model_become_an_apps_options() -> None:
    options = CATALOGUE.options(CAM)
    assert [[o.digest for o in block] for block in options.blocks] == [["b0"], ["b1"], ["b2"], ["b3"]]
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


def test_a_block_without_a_usable_variant_is_a_store_fault() -> None:
    with pytest.raises(StoreFault, match="block 2"):
        replace(CATALOGUE, broken=frozenset({"b2"})).options(CAM)
