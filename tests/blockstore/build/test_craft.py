"""Craft: recipes become finished variants, in whatever order, however often a build is interrupted."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx

from blockstore import torchform
from blockstore.block import ORIGINAL, TensorSpec
from blockstore.build.craft import Order, craft_all
from blockstore.build.export import run, session
from blockstore.build.kinds import registry
from blockstore.build.progress import silent
from blockstore.build.variants import Dropped, Finished
from blockstore.errors import CannotBuild
from tests.blockstore.build import crafting, networks

RECIPES = ("blurred:0.5", "blurred:0.5+marked", "marked", "unwilling")


class Stops(Exception):  # what a user does, not an error
    """The user interrupts."""


def crafted(order: Order, processes: int = 1) -> tuple[tuple[Finished, ...], tuple[Dropped, ...]]:
    return craft_all(crafting.blocks(), order, processes, silent)


def content(order: Order) -> dict[str, bytes]:
    """Every file of the finished variants."""
    root = order.folder / "variants"
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Order:
    """A build of `RECIPES` that nothing disturbed."""
    order = crafting.order(tmp_path_factory.mktemp("whole"), *RECIPES)
    crafted(order)
    return order


def test_every_recipe_becomes_a_variant_or_a_reason(whole: Order) -> None:
    finished, dropped = crafted(whole)
    names = [(f.block, f.name) for f in finished]
    assert names == [(b, n) for b in range(3) for n in (ORIGINAL, *RECIPES) if (b, n) != (1, "unwilling")]
    assert dropped == (Dropped(1, "unwilling", "not of this one"),)
    assert [f.kind for f in finished][:4] == [ORIGINAL, "blurred", "blurred+marked", "marked"]


def test_a_variant_runs_and_its_forms_agree(whole: Order) -> None:
    finished, _ = crafted(whole)
    forms = next(f for f in finished if (f.block, f.name) == (0, "blurred:0.5")).forms()
    frames = networks.frames(2)
    assert forms.torch is not None
    expected = torchform.load(forms.torch)(frames).numpy()
    assert np.allclose(run(session(forms.onnx, 1), frames.numpy()), expected, atol=1e-3)
    assert (forms.parameters, forms.multiply_adds > 0) == (finished[0].parameters, True)


def test_a_variant_says_how_it_was_made_and_training_brought_it_nearer(whole: Order) -> None:
    finished, _ = crafted(whole)
    facts = finished[1].facts
    assert facts["share"] == 0.5
    assert facts["epochs"] == 3
    assert 0 < float(facts["output_error"]) < float(facts["error_before_retraining"])
    assert finished[0].facts == {}


def test_an_encoding_sees_calibration_images_and_scores_the_whole_network(whole: Order) -> None:
    finished, _ = crafted(whole)
    both, pure = finished[2], finished[3]
    assert both.facts["share"] == 0.5
    assert pure.facts == {"score": 1.0, "seen": 12, "as_block": 0.0}
    assert pure.forms().torch is None
    assert pure.forms().onnx == finished[0].forms().onnx


def test_recipes_that_make_the_same_are_made_once(tmp_path: Path) -> None:
    finished, dropped = crafted(
        crafting.order(tmp_path, "blurred:0.5", "blurred:0.50", "blurred:1", "blurred:0.50+marked")
    )
    assert [f.name for f in finished if f.block == 0] == [ORIGINAL, "blurred:0.5", "blurred:0.50+marked"]
    assert [d.reason for d in dropped if d.block == 0] == [
        "it is the same as blurred:0.5",
        "it is the same as original",
    ]


def test_encodings_that_come_to_the_same_bytes_are_one(tmp_path: Path) -> None:
    recipes = registry.parse_all(("fp16", "fp16-greedy:0.99", "int8:12", "int8"))
    order = replace(crafting.order(tmp_path), blocks=1, recipes=recipes)
    finished, dropped = craft_all(crafting.blocks(count=1), order, 1, silent)
    assert [f.name for f in finished] == [ORIGINAL, "fp16", "int8:12"]
    assert [(d.name, d.reason) for d in dropped] == [
        ("fp16-greedy:0.99", "it is the same as fp16"),
        ("int8", "it is the same as int8:12"),
    ]


def test_equal_variants_are_told_by_what_is_wanted_this_time(tmp_path: Path) -> None:
    """Work is gone on from with other recipes, too."""
    both = crafting.order(tmp_path, "blurred:0.5", "blurred:0.50")
    crafted(both)
    finished, dropped = crafted(replace(both, recipes=both.recipes[1:]))
    assert {f.name for f in finished} == {ORIGINAL, "blurred:0.50"}
    assert not dropped


def test_no_more_images_than_a_batch_on_the_wanted_threads_tell_how_to_share_blocks_out(tmp_path: Path) -> None:
    blocks, seen = crafting.blocks(), set[tuple[int, int]]()
    blocks[0].module.register_forward_pre_hook(lambda _, inputs: seen.add((len(inputs[0]), torch.get_num_threads())))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    craft_all(blocks, crafting.order(tmp_path), 1, silent)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert seen == {(crafting.COURSE.batch_size, 1)}


def test_a_loss_that_is_not_a_number_drops_the_variant_and_the_others_go_on(tmp_path: Path) -> None:
    finished, dropped = crafted(crafting.order(tmp_path, "exploding", "blurred:0.5", "exploding+marked"))
    assert [f.name for f in finished if f.block == 0] == [ORIGINAL, "blurred:0.5"]
    assert [d.name for d in dropped if d.block == 0] == ["exploding", "exploding+marked"]
    assert "lower the learning rate" in dropped[0].reason


def test_a_variant_does_not_depend_on_the_others_nor_on_the_number_of_processes(tmp_path: Path, whole: Order) -> None:
    alone = crafting.order(tmp_path, "blurred:0.5")
    crafted(alone, processes=2)
    made, beside = content(alone), content(whole)
    assert len(made) == 3 * 6
    assert all(beside[name] == data for name, data in made.items())


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    orders = [
        crafting.order(tmp_path / str(seed), "blurred:0.7", course=replace(crafting.COURSE, seed=seed))
        for seed in (1, 2)
    ]
    first, second = (crafted(order)[0][1].forms().onnx for order in orders)
    assert first != second


@pytest.mark.parametrize("stop", [1, 4, 8, 15, 24, 30])
def test_an_interrupted_build_goes_on_to_the_same_bytes(tmp_path: Path, whole: Order, stop: int) -> None:
    told = 0

    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal told
        told += 1
        if told == stop:
            raise Stops

    broken = crafting.order(tmp_path, *RECIPES)
    with pytest.raises(Stops):
        craft_all(crafting.blocks(), broken, 1, interrupt)
    crafted(broken)
    assert content(broken) == content(whole)


@pytest.mark.parametrize(("processes", "seed"), [(1, 0), (2, 1)])
def test_a_build_that_is_killed_again_and_again_ends_in_the_same_bytes(
    tmp_path: Path, whole: Order, processes: int, seed: int
) -> None:
    # Not for secrets: a test that fails must fail again.
    lines = random.Random(seed)  # noqa: S311
    broken = crafting.order(tmp_path, *RECIPES)
    for _ in range(3):
        kill_after(lines.randrange(2, 30), tmp_path, processes)
    crafted(broken)
    assert content(broken) == content(whole)


def kill_after(lines: int, folder: Path, processes: int) -> None:
    """Start the build of `folder` in another process, and kill it when it has told `lines` steps."""
    code = (
        f"from tests.blockstore.build.crafting import main; main({str(folder)!r}, {' '.join(RECIPES)!r}, {processes})"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root) as build:
        assert build.stdout is not None
        told = sum(1 for _ in zip(range(lines), build.stdout, strict=False))
        build.kill()
        assert told == lines or build.wait() == 0
        # Its own workers hold the pipe as well: at its end none of them is left.
        build.stdout.read()


def test_what_is_finished_is_not_made_again(whole: Order) -> None:
    before = {p: p.stat().st_mtime_ns for p in (whole.folder / "variants").rglob("*")}
    told: list[str] = []
    craft_all(crafting.blocks(), whole, 1, lambda stage, *_: told.append(stage))
    assert not told
    assert {p: p.stat().st_mtime_ns for p in (whole.folder / "variants").rglob("*")} == before


def test_a_damaged_variant_is_made_again_and_only_that(tmp_path: Path) -> None:
    order = crafting.order(tmp_path, *RECIPES)
    crafted(order)
    before = content(order)
    damaged = order.folder / "variants" / "001" / "blurred%3A0.5.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    told: list[tuple[str, int, int]] = []
    craft_all(crafting.blocks(), order, 1, lambda stage, done, total, note="": told.append((stage, done, total)))
    assert content(order) == before
    assert told[-1] == ("encode", 1, 1)


def test_a_shape_that_was_decided_by_measurement_is_not_decided_again(tmp_path: Path) -> None:
    order = crafting.order(tmp_path, "measured")

    def stop(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "retrain":
            raise Stops

    with pytest.raises(Stops):
        craft_all(crafting.blocks(), order, 1, stop)
    finished, _ = crafted(replace(order, latencies_ms=_other_ms))
    assert {f.facts.get("share") for f in finished} == {None, 0.5}


def _other_ms(modules: Sequence[fx.GraphModule], spec: TensorSpec) -> list[float]:
    return [0.25] * len(modules)


def test_the_callers_number_of_threads_comes_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    crafted(crafting.order(tmp_path, "blurred:0.5"))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_a_fault_in_a_kind_names_the_block_when_it_is_in_another_process(tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match=r"block.*(?s:.*)ZeroDivisionError: a fault"):
        crafted(crafting.order(tmp_path, "failing"), processes=2)
