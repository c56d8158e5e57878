"""Exits in a whole build: a real store, variants that learn, policies in the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blockstore.block import Model
from blockstore.build import pipeline
from blockstore.build.built import Built
from blockstore.build.exits.expected import policy_multiply_adds
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.images import ImageSet
from blockstore.build.progress import Progress, silent
from blockstore.build.settings import BuildSettings
from blockstore.errors import CannotBuild, MissingModel
from blockstore.exits import FINAL
from blockstore.store import Store
from tests.blockstore.build import networks
from tests.blockstore.build.exits import coloured
from tests.blockstore.samples import quick_folder

EXITS = ExitSettings("flexdnn", epochs=4, batch_size=32, learning_rate=0.01, rounds=2, precision=0.95)
SETTINGS = BuildSettings(
    name="tiny",
    input=networks.FRAMES,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    cuts=coloured.CUTS,
    variants=("prune:0.5",),
    width_multiple=1,
    epochs=0,
    batch_size=32,
    validation_images=16,
    calibration_images=16,
    fit_routes=2,
    check_routes=2,
    device="cpu",
    exits=EXITS,
)


class Stops(Exception):
    """The user interrupts."""


def build(
    folder: Path, settings: BuildSettings = SETTINGS, data: ImageSet | None = None, progress: Progress = silent
) -> Built:
    with Store.open(folder / "store", create=True) as store:
        built = pipeline.build(
            coloured.network(), data or coloured.Coloured(), settings, store, folder / "work", progress
        )
        assert store.model("tiny") == built.model
    return built


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as made:
        yield made


@pytest.fixture(scope="module")
def unbroken() -> Built:
    """What `SETTINGS` come to."""
    with quick_folder() as made:
        return build(made)


@pytest.mark.parametrize("method", ["branchynet", "flexdnn", "mxn"])
def test_a_model_with_exits_comes_back_from_its_manifest(folder: Path, method: str) -> None:
    built = build(folder, replace(SETTINGS, exits=replace(EXITS, method=method)))
    model = built.model
    assert Model.from_json(model.to_json()) == model
    assert sorted((*(e.block for e in model.exits), *built.removed_exits)) == [0, 1, 2]
    assert {e.method for e in model.exits} == {method}
    assert model.policies
    assert "exits" in {cost.stage for cost in built.costs}
    whole = sum(block.variants[0].multiply_adds for block in model.blocks)
    cheapest = min(policy_multiply_adds(model, o) for o in model.policies if o.policy.last == FINAL)
    assert cheapest < whole


def test_a_build_that_was_killed_while_heads_learnt_comes_to_the_same_model(folder: Path, unbroken: Built) -> None:
    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "prune exits 2/2":
            raise Stops

    with pytest.raises(Stops):
        build(folder, progress=interrupt)
    with Store.open(folder / "store") as store, pytest.raises(MissingModel):
        store.model("tiny")
    assert build(folder).model == unbroken.model


def test_exits_do_not_change_the_variants(folder: Path, unbroken: Built) -> None:
    without = build(folder, replace(SETTINGS, exits=None)).model
    assert (without.exits, without.policies) == ((), ())
    assert [b.variants for b in unbroken.model.blocks] == [b.variants for b in without.blocks]


def test_joint_training_makes_another_backbone_the_same_one_when_it_is_gone_on_with(folder: Path) -> None:
    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if stage.startswith("evaluate"):
            raise Stops

    settings = replace(SETTINGS, exits=replace(EXITS, method="branchynet", epochs=1, joint=1))
    with pytest.raises(Stops):
        build(folder, settings, progress=interrupt)
    told: list[str] = []
    resumed = build(folder, settings, progress=lambda stage, *_: told.append(stage)).model
    assert "train jointly" not in told
    unbroken = build(folder / "unbroken", settings).model
    assert resumed == unbroken
    plain = build(folder / "plain", replace(settings, exits=None)).model
    digests = [{v.artifacts[0].digest for b in m.blocks for v in b.variants} for m in (plain, unbroken)]
    assert not digests[0] & digests[1]


def test_without_images_of_their_own_thresholds_are_searched_on_half_of_those_held_out(
    folder: Path, unbroken: Built
) -> None:
    halves = build(folder, data=coloured.HeldOut()).model
    assert [e.curves for e in halves.exits] != [e.curves for e in unbroken.model.exits]
    assert halves.accuracy == unbroken.model.accuracy


def test_without_any_label_exits_learn_what_the_network_says(folder: Path) -> None:
    short = replace(SETTINGS, exits=replace(EXITS, method="branchynet", after=(1,), epochs=6))
    (only,) = build(folder, short, coloured.Unlabelled()).model.exits
    assert float(only.settings["accuracy"]) > 0.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exits": ExitSettings("mxn", after=(7,))}, "no exit can stand after block 7"),
        ({"cuts": (), "blocks": 1}, "the network is one block"),
        ({"task": "embedding"}, "have no confidence"),
    ],
)
def test_exits_that_cannot_be_are_refused_before_variants_are_made(
    folder: Path, change: dict[str, object], message: str
) -> None:
    told: list[str] = []
    with pytest.raises(CannotBuild, match=message):
        build(folder, replace(SETTINGS, **change), progress=lambda stage, *_: told.append(stage))  # type: ignore[arg-type]  # fields of several types
    assert set(told) == {"cut"}
