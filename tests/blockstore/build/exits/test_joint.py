"""Joint training: a new backbone comes of it, the same one when it is gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blockstore.build.checkpoint import Work
from blockstore.build.cut import CutBlock
from blockstore.build.exits import joint
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.progress import Progress, silent
from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.registry import parse_task
from blockstore.errors import CannotBuild
from tests.blockstore.build.exits import coloured

SETTINGS = ExitSettings("branchynet", batch_size=32, learning_rate=0.003, joint=3)
TRAINING = coloured.pictures(128, 1)


def weights(blocks: list[CutBlock]) -> list[torch.Tensor]:
    return [p.detach().clone() for block in blocks for p in block.module.parameters()]


def trained(
    folder: Path, settings: ExitSettings = SETTINGS, progress: Progress = silent, seed: int = 0
) -> list[CutBlock]:
    blocks = list(coloured.blocks())
    joint.train_jointly(blocks, blocks[-1].output, settings, TRAINING, 1, seed, Work(folder), progress)
    return blocks


def loss(blocks: list[CutBlock]) -> float:
    with torch.no_grad():
        x = torch.from_numpy(TRAINING.images)
        for block in blocks:
            x = block.module(x)
        return float(torch.nn.functional.cross_entropy(x, torch.from_numpy(TRAINING.class_labels())))


def test_the_blocks_change_and_the_network_gets_better_at_what_it_was_taught(tmp_path: Path) -> None:
    before, after = list(coloured.blocks()), trained(tmp_path)
    changed = [not torch.equal(a, b) for a, b in zip(weights(before), weights(after), strict=True)]
    assert all(changed)
    assert loss(after) < loss(before)
    assert not any(p.requires_grad for block in after for p in block.module.parameters())


def test_a_killed_build_has_the_same_backbone_when_it_goes_on(tmp_path: Path) -> None:
    told: list[str] = []

    def watch(stage: str, done: int, total: int, note: str = "") -> None:
        told.append(stage)

    first = weights(trained(tmp_path / "one", progress=watch))
    assert told[-1] == "train jointly"
    told.clear()
    resumed = weights(trained(tmp_path / "one", progress=watch))
    assert told == []
    anew = weights(trained(tmp_path / "other"))
    for one, other, another in zip(first, resumed, anew, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, another)


def test_weights_of_the_exits_and_the_seed_decide_what_comes_of_it(tmp_path: Path) -> None:
    short = replace(SETTINGS, joint=1)
    plain = weights(trained(tmp_path / "plain", short))
    deep = weights(trained(tmp_path / "deep", replace(short, weights=(0.0, 0.0, 9.0))))
    other = weights(trained(tmp_path / "seed", short, seed=1))
    assert not torch.equal(plain[0], deep[0])
    assert not torch.equal(plain[0], other[0])


def test_a_rate_at_which_nothing_is_learnt_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match=r"the loss of the exits became .*: lower the learning rate"):
        trained(tmp_path, replace(SETTINGS, learning_rate=1e18))


def test_without_classes_there_is_no_joint_training() -> None:
    with pytest.raises(CannotBuild, match="joint training of exits takes labels of classes; the task is embedding"):
        joint.check(SETTINGS, parse_task("embedding"), TRAINING)
    with pytest.raises(CannotBuild, match="no labels; a class for each of them is needed"):
        joint.check(SETTINGS, Classification(), TRAINING.unlabelled())
    joint.check(replace(SETTINGS, joint=0), parse_task("embedding"), TRAINING)
