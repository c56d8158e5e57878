"""Exits for finished variants: the whole of the package on a small network, resumed, and refused where it must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blockstore.block import TensorSpec
from blockstore.build.checkpoint import Work
from blockstore.build.exits import attach
from blockstore.build.exits.finish import Attached, costs_of
from blockstore.build.exits.school import Subject, learners_of
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.images import Labelled
from blockstore.build.progress import Progress, silent
from blockstore.build.tasks.base import Task
from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.registry import parse_task
from blockstore.errors import CannotBuild
from blockstore.exits import FINAL, check_policy
from schedulerd.serving.engines.onnx import OnnxEngine
from tests.blockstore.build.exits import coloured

SETTINGS = ExitSettings("flexdnn", epochs=4, batch_size=32, learning_rate=0.01, rounds=2, precision=0.95)
LENGTH = "tests.blockstore.build.exits.test_attach:length"
METHODS = ("branchynet", "flexdnn", "mxn")


def length(outputs: Tensor) -> Tensor:
    """A confidence of a user's own, of vectors."""
    return torch.sigmoid((outputs * outputs).mean(1))


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return coloured.subject(tmp_path_factory.mktemp("variants"), halved=(0, 1))


def attached(
    subject: Subject, settings: ExitSettings, work: Path, blobs: coloured.Blobs, progress: Progress = silent
) -> Attached:
    return attach.attach(subject, settings, 1, 0, Work(work), blobs, progress)


@pytest.mark.parametrize("method", METHODS)
def test_every_exit_gives_in_the_engine_what_its_manifest_says(tmp_path: Path, subject: Subject, method: str) -> None:
    blobs = coloured.Blobs()
    made = attached(subject, replace(SETTINGS, method=method), tmp_path / "work", blobs)
    assert made.exits
    assert sorted((*(e.block for e in made.exits), *made.removed)) == [0, 1, 2]
    school = coloured.school(subject, SETTINGS)
    images = subject.validation.images
    variants = school.variants
    features = variants.walk(variants.original, images, {0, 1, 2})
    for e in made.exits:
        assert [a.engine for a in e.artifacts] == ["onnxruntime", "torch"]
        assert all(len(blobs.kept[a.digest]) == a.size_bytes for a in e.artifacts)
        path = tmp_path / e.name
        path.write_bytes(blobs.kept[e.artifacts[0].digest])
        head = OnnxEngine().load_head(path)
        found = [head.run([features[block][i : i + 1] for block in e.inputs]) for i in range(len(images))]
        worth = school.judge.worth(torch.from_numpy(np.concatenate([output for output, _ in found])))
        if e.method == "branchynet":
            assert e.measure == "entropy"
        sure = np.array([confidence for _, confidence in found])
        assert 0 <= sure.min() < sure.max() <= 1 + 1e-5
        # The general curve is of originals and of drawn routes: alone, originals are near it.
        point = e.curves.of(()).at(0.5)
        assert (sure >= 0.5).mean() == pytest.approx(point.share, abs=0.25)
        assert worth[sure >= 0.5].mean() >= point.precision - 0.1
    for offered in made.policies:
        check_policy(offered.policy, {e.name: e.block for e in made.exits})


def test_branches_all_stay_and_a_plan_keeps_those_that_pay(tmp_path: Path, subject: Subject) -> None:
    given = attached(subject, replace(SETTINGS, method="branchynet"), tmp_path / "given", coloured.Blobs())
    assert [e.block for e in given.exits] == [0, 1, 2]
    assert given.removed == ()
    planned = attached(subject, SETTINGS, tmp_path / "planned", coloured.Blobs())
    assert planned.removed
    school = coloured.school(subject, SETTINGS)
    costs = costs_of(school, learners_of(subject.blocks, subject.output, SETTINGS, subject.task, 0))
    assert costs.whole == sum(f.multiply_adds for f in subject.finished if f.name == "original")
    assert all(e.multiply_adds < costs.whole for e in planned.exits)


def test_names_and_depths_rise_together_whatever_was_removed(tmp_path: Path, subject: Subject) -> None:
    made = attached(subject, replace(SETTINGS, method="branchynet", after=(2, 0)), tmp_path, coloured.Blobs())
    assert [(e.name, e.block) for e in made.exits] == [("exit1", 0), ("exit2", 2)]
    assert {o.policy.last for o in made.policies} >= {"exit1", "exit2"}


def test_a_killed_build_goes_on_with_the_heads_that_had_learnt(tmp_path: Path, subject: Subject) -> None:
    taught: list[str] = []

    def watch(stage: str, done: int, total: int, note: str = "") -> None:
        taught.append(stage)

    first = attached(subject, SETTINGS, tmp_path, coloured.Blobs(), watch)
    assert {"teach exits"} < set(taught)
    taught.clear()
    again = attached(subject, SETTINGS, tmp_path, coloured.Blobs(), watch)
    assert taught == []
    assert again == first
    other = attached(subject, replace(SETTINGS, epochs=1), tmp_path, coloured.Blobs(), watch)
    assert "teach exits" in taught
    assert other != first


def test_two_builds_of_one_seed_make_the_same_exits(tmp_path: Path, subject: Subject) -> None:
    settings = replace(SETTINGS, method="mxn", epochs=1, rounds=3)
    made = []
    for number in range(2):
        torch.manual_seed(number)
        made.append(attached(subject, settings, tmp_path / str(number), coloured.Blobs()))
    assert made[0] == made[1]


def test_an_embedding_has_exits_by_imitation_where_a_confidence_is_given(tmp_path: Path) -> None:
    task = parse_task("embedding")
    subject = coloured.subject(tmp_path / "variants", task=task)
    settings = replace(SETTINGS, method="branchynet", confidence=LENGTH, epochs=8)
    attach.check(settings, task, [subject.output], subject.blocks, subject.training)
    made = attached(subject, settings, tmp_path / "work", coloured.Blobs())
    assert [(e.measure, e.temperature) for e in made.exits] == [("custom", 1.0)] * 3
    # Labels of identities are no classes to learn: vectors like the original's find those that it finds.
    assert min(float(e.settings["accuracy"]) for e in made.exits) > 0.6


def checked(subject: Subject, settings: ExitSettings, **change: Any) -> None:
    """What a build looks at before any work."""
    task: Task = change.get("task", Classification())
    outputs: Sequence[TensorSpec] = change.get("outputs", [subject.output])
    blocks = change.get("blocks", subject.blocks)
    attach.check(settings, task, outputs, blocks, change.get("training", subject.training))


def small(count: int = 8, height: int = 8) -> Labelled:
    data = coloured.pictures(count, 0)
    return Labelled(data.images[:, :height], data.labels)


@pytest.mark.parametrize("method", METHODS)
def test_what_can_be_passes(subject: Subject, method: str) -> None:
    checked(subject, ExitSettings(method))
    checked(subject, ExitSettings(method, weights=(1.0, 2.0), joint=1, after=(0, 2)))
    checked(subject, ExitSettings(method), training=subject.training.unlabelled())


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        (ExitSettings("mxn"), {"task": parse_task("embedding")}, "exits of a network for 'embedding' have no conf"),
        (
            ExitSettings("mxn"),
            {"outputs": [TensorSpec("float32", (2,))] * 2},
            "the network has 2 outputs: exits are for networks that have one; leave them out",
        ),
        (ExitSettings("mxn", after=(3,)), {}, "no exit can stand after block 3: the network has blocks 0 to 3"),
        (ExitSettings("mxn", weights=(1.0,), joint=1), {}, "1 weights for 3 exits: give one for each, or none"),
        (ExitSettings("mxn", confidence="margin"), {}, "confidence 'margin' is unknown"),
        (
            ExitSettings("mxn", confidence="tests.blockstore.build.exits.test_forms:each_class"),
            {},
            r"the confidence of 8 frames is \[8, 4\]: give one number a frame",
        ),
        (
            ExitSettings("mxn", confidence="tests.blockstore.build.exits.test_forms:raises"),
            {},
            "test_forms:raises failed: ValueError: no idea",
        ),
        (
            ExitSettings("branchynet"),
            {"training": small()},
            r"training images are 8x12x3, exits learn from frames of the model's own size, uint8\[12x12x3\]: give",
        ),
        (ExitSettings("mxn"), {"training": small(1, 12)}, "1 training image: exits normalise over batches of at least"),
        (
            ExitSettings("mxn"),
            {"training": Labelled(coloured.pictures(4, 0).images, np.array([0, 1, 2, 4]))},
            "the training labels are from 0 to 4, for 4 classes they are from 0 to 3; without labels exits learn",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    subject: Subject, settings: ExitSettings, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CannotBuild, match=message):
        checked(subject, settings, **change)


def test_a_network_of_one_block_has_no_place_for_an_exit(subject: Subject) -> None:
    with pytest.raises(CannotBuild, match="the network is one block: an exit stands between two; ask for more blocks"):
        checked(subject, ExitSettings("mxn"), blocks=subject.blocks[:1])


def test_a_policy_may_end_at_every_depth(tmp_path: Path, subject: Subject) -> None:
    made = attached(subject, replace(SETTINGS, method="branchynet"), tmp_path, coloured.Blobs())
    assert {o.policy.last for o in made.policies} == {"exit1", "exit2", "exit3", FINAL}
