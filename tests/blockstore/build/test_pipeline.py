"""The whole offline stage on small networks and a real store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from blockstore import torchform
from blockstore.block import ORIGINAL, Model, TensorSpec
from blockstore.build import pipeline
from blockstore.build.built import Built, Timed
from blockstore.build.checkpoint import Work
from blockstore.build.export import run, session
from blockstore.build.progress import Progress, silent
from blockstore.build.settings import BuildSettings
from blockstore.errors import CannotBuild, MissingModel
from blockstore.store import Store
from tests.blockstore.build import networks

SETTINGS = BuildSettings(
    name="tiny",
    input=networks.FRAMES,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    blocks=3,
    variants=("prune:0.25", "prune:0.5", "skip:1", "prune:0.5+int8"),
    width_multiple=1,
    epochs=2,
    batch_size=8,
    validation_images=8,
    calibration_images=16,
    fit_routes=4,
    check_routes=4,
    threads=1,
    device="cpu",
)


class Stops(Exception):  # what a user does, not an error
    """The user interrupts."""


def build(
    store: Store,
    work: Path,
    settings: BuildSettings = SETTINGS,
    progress: Progress = silent,
    timer: pipeline.Timer | None = None,
) -> Built:
    network = networks.residual()
    return pipeline.build(network, networks.Noise(), settings, store, work, progress, timer)


def test_a_build_puts_a_model_that_runs_whatever_variants_are_combined(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        built = build(store, tmp_path / "work")
        model = store.model("tiny")
        assert model == built.model
        assert (model.input, model.output) == (networks.FRAMES, TensorSpec("float32", (4,)))
        assert model.labels == ("a", "b", "c", "d")
        assert model.accuracy == 1.0
        assert model.evaluated_images == 20
        names = [[v.name for v in b.variants] for b in model.blocks]
        assert all(row[0] == ORIGINAL for row in names)
        assert names[1] == [ORIGINAL, "prune:0.25", "prune:0.5", "skip:1", "prune:0.5+int8"]
        frames = networks.frames(2)
        for pick in ((0, 0, 0), (1, 2, 1), (2, 3, 1)):
            x, y = frames.numpy(), frames
            for block, choice in zip(model.blocks, pick, strict=True):
                onnx, form = (block.variants[choice].artifact(e) for e in ("onnxruntime", "torch"))
                assert onnx is not None
                assert form is not None
                x = run(session(store.path(onnx.digest).read_bytes(), 1), x)
                y = torchform.load(store.path(form.digest).read_bytes())(y)
            assert np.allclose(x, y.numpy(), atol=1e-3)


def test_int8_runs_in_onnxruntime_alone(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        variant = build(store, tmp_path / "work").model.blocks[1].variant("prune:0.5+int8")
    assert [a.engine for a in variant.artifacts] == ["onnxruntime"]
    assert variant.kind == "prune+int8"


def test_the_manifest_says_how_it_was_made(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        model = build(store, tmp_path / "work").model
    assert model.provenance["seed"] == 0
    assert model.provenance["routes_checked"] == 4
    assert 0 <= float(model.provenance["accuracy_model_mae"]) <= 1
    variant = model.blocks[1].variant("prune:0.5")
    assert variant.kind == "prune"
    assert variant.settings["filters_after"] == int(variant.settings["filters_before"]) // 2
    assert 0 < float(variant.settings["output_error"]) < float(variant.settings["error_before_retraining"])
    assert variant.multiply_adds < model.blocks[1].variants[0].multiply_adds


def test_the_model_predicts_the_routes_that_were_measured(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        build(store, tmp_path / "work")
        known = store.model("tiny").accuracy_model
    assert known is not None
    original = (0,) * 3
    assert known.predict(original) == 1.0
    assert {e.route for e in known.evidence} > {original, (0, 1, 0), (0, 0, 1)}
    assert sum(e.checked for e in known.evidence) == 4


def test_a_variant_that_is_slower_larger_and_worse_is_left_out_with_a_word(tmp_path: Path) -> None:
    def only_the_smallest_are_quick(model: Model, path_of: Callable[[str], Path]) -> Timed:
        variants = [v for block in model.blocks for v in block.variants]
        assert all(path_of(v.artifacts[0].digest).is_file() for v in variants)
        medians_ms = {v.artifacts[0].digest: 1.0 if v.name == "prune:0.5" else 2.0 for v in variants}
        return Timed(medians_ms, faults=(), disturbed=False)

    settings = replace(SETTINGS, variants=("prune:0.25", "prune:0.5"))
    with Store.open(tmp_path / "store", create=True) as store:
        built = build(store, tmp_path / "work", settings, timer=only_the_smallest_are_quick)
        assert store.model("tiny") == built.model
    dropped = {(g.block, g.name) for g in built.left_out if "no more accurate than" in g.reason}
    # On this easy task half of the filters can go without harm: losing a quarter has no merit.
    assert dropped == {(0, "prune:0.25"), (1, "prune:0.25"), (2, "prune:0.25")}
    assert not dropped & {(b.index, v.name) for b in built.model.blocks for v in b.variants}
    assert [len(row) for row in built.latencies_ms] == [len(b.variants) for b in built.model.blocks]
    assert [len(row) for row in built.accuracy.damages] == [len(b.variants) for b in built.model.blocks]


def test_an_interrupted_build_leaves_no_model_and_goes_on_to_the_same_result(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "retrain" and done > total / 2:
            raise Stops

    seen: list[float] = []
    notes: list[str] = []

    def watch(stage: str, done: int, total: int, note: str = "") -> None:
        notes.append(note)
        if stage == "retrain":
            seen.append(done / total)

    settings = replace(SETTINGS, blocks=1)
    with Store.open(tmp_path / "store", create=True) as store:
        with pytest.raises(Stops):
            build(store, tmp_path / "work", settings, interrupt)
        with pytest.raises(MissingModel):
            store.model("tiny")
        resumed = build(store, tmp_path / "work", settings, watch).model
    with Store.open(tmp_path / "other", create=True) as store:
        unbroken = build(store, tmp_path / "elsewhere", settings).model
    assert min(seen) >= 0.5
    assert any(note.startswith("going on with an interrupted build") for note in notes)
    assert resumed == unbroken
    assert not list((tmp_path / "work").iterdir())


def test_a_build_in_two_processes_makes_the_same_model(tmp_path: Path) -> None:
    models = []
    for processes in (1, 2):
        with Store.open(tmp_path / f"store{processes}", create=True) as store:
            models.append(build(store, tmp_path / "work", replace(SETTINGS, processes=processes, cuts=("4",))).model)
    assert models[0] == models[1]


def test_a_build_goes_on_at_the_cuts_it_had_chosen(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "reshape":
            raise Stops

    with Store.open(tmp_path / "store", create=True) as store:
        with pytest.raises(Stops):
            build(store, tmp_path / "work", progress=interrupt)
        (folder,) = (tmp_path / "work").iterdir()
        # As if the machine had been busy elsewhere when the segments were timed.
        Work(folder).put_json("cuts.json", (["3"], "the machine was busy"))
        built = build(store, tmp_path / "work")
    assert len(built.model.blocks) == 2
    assert built.obstacle == "the machine was busy"


def unfinished(store: Store, work: Path, network: nn.Module, settings: BuildSettings = SETTINGS) -> str:
    """Name of the folder in which a build leaves its work when it is interrupted before it has done anything."""

    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "reshape":
            raise Stops

    before = set(work.iterdir()) if work.exists() else set()
    with pytest.raises(Stops):
        pipeline.build(network, networks.Noise(), settings, store, work, interrupt)
    (folder,) = set(work.iterdir()) - before or before
    return folder.name


def test_work_is_gone_on_from_only_where_it_would_end_in_the_same_variants(tmp_path: Path) -> None:
    smooth = networks.residual()
    smooth[2] = nn.SiLU()  # type: ignore[index,operator]  # a Sequential; as many parameters as before
    with Store.open(tmp_path / "store", create=True) as store:
        folder = unfinished(store, tmp_path / "work", networks.residual())
        more = replace(SETTINGS, name="other", variants=(*SETTINGS.variants, "fp16"), fit_routes=2, processes=2)
        assert unfinished(store, tmp_path / "work", networks.residual(), more) == folder
        assert unfinished(store, tmp_path / "work", smooth) != folder
        assert unfinished(store, tmp_path / "seed", networks.residual(), replace(SETTINGS, seed=1)) != folder


def test_what_came_of_it_is_told_before_the_work_is_removed(tmp_path: Path) -> None:
    told: list[Built] = []

    def tell(built: Built) -> None:
        assert list((tmp_path / "work").iterdir())
        told.append(built)

    with Store.open(tmp_path / "store", create=True) as store:
        built = pipeline.build(
            networks.residual(), networks.Noise(), SETTINGS, store, tmp_path / "work", silent, tell=tell
        )
    assert told == [built]
    assert not list((tmp_path / "work").iterdir())


def test_times_are_taken_once_even_where_the_build_is_interrupted_after_them(tmp_path: Path) -> None:
    taken: list[Timed] = []

    def timer(model: Model, path_of: Callable[[str], Path]) -> Timed:
        variants = [v for block in model.blocks for v in block.variants]
        taken.append(Timed({v.artifacts[0].digest: 1.0 + len(taken) for v in variants}, (), False))
        return taken[-1]

    def interrupt(built: Built) -> None:
        raise Stops

    arguments = (networks.residual(), networks.Noise(), SETTINGS)
    with Store.open(tmp_path / "store", create=True) as store:
        with pytest.raises(Stops):
            pipeline.build(*arguments, store, tmp_path / "work", silent, timer, interrupt)
        built = pipeline.build(*arguments, store, tmp_path / "work", silent, timer)
    assert len(taken) == 1
    assert {ms for row in built.latencies_ms for ms in row} == {1.0}


def test_a_refined_route_adds_variants_that_are_measured_like_the_others(tmp_path: Path) -> None:
    settings = replace(SETTINGS, variants=("prune:0.5", "prune:0.5+int8"), finetune=("prune:0.5",))
    with Store.open(tmp_path / "store", create=True) as store:
        model = build(store, tmp_path / "work", settings).model
    names = [v.name for v in model.blocks[1].variants]
    assert names == [ORIGINAL, "prune:0.5", "prune:0.5+int8", "prune:0.5@labels", "prune:0.5+int8@labels"]
    assert model.accuracy_model is not None
    assert {e.route for e in model.accuracy_model.evidence} >= {(0, 3, 0), (0, 4, 0)}


def test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    network = networks.residual()
    with (
        Store.open(tmp_path / "store", create=True) as store,
        pytest.raises(CannotBuild, match=r"held-out images are uint8\[11x12x3\].*uint8\[12x12x3\]"),
    ):
        pipeline.build(network, networks.Noise(held_out_height=11), SETTINGS, store, tmp_path, silent)


def test_a_fully_convolutional_network_is_retrained_on_images_of_another_size(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        built = pipeline.build(networks.residual(), networks.Noise(8), SETTINGS, store, tmp_path, silent)
    assert built.model.input == networks.FRAMES
    assert built.model.blocks[0].variant("prune:0.25").settings["output_error"]


def test_images_of_a_size_that_the_network_does_not_take_are_refused(tmp_path: Path) -> None:
    settings = replace(SETTINGS, blocks=1)
    with (
        Store.open(tmp_path / "store", create=True) as store,
        pytest.raises(CannotBuild, match=r"training images are 8x12x3, the network takes only uint8\[12x12x3\]"),
    ):
        pipeline.build(networks.fixed_size(), networks.Noise(8), settings, store, tmp_path, silent)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (("prune:1.5",), "'prune:1.5'"),
        (("polish",), "no kind 'polish'"),
        (("int8+prune:0.5",), "it comes last"),
        (("skip:1", "skip:1"), "given twice"),
    ],
)
def test_variants_that_mean_nothing_are_refused_before_any_work(
    tmp_path: Path, variants: tuple[str, ...], message: str
) -> None:
    with Store.open(tmp_path / "store", create=True) as store, pytest.raises(CannotBuild, match=message):
        build(store, tmp_path / "work", replace(SETTINGS, variants=variants))
    assert not (tmp_path / "work").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_asking_for_cuda_without_one_is_refused(tmp_path: Path) -> None:
    with (
        Store.open(tmp_path / "store", create=True) as store,
        pytest.raises(CannotBuild, match="device is cuda and torch finds none"),
    ):
        build(store, tmp_path, replace(SETTINGS, device="cuda"))
