"""Retrain: variants come nearer to their originals, repeatably, and go on where they stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from blockstore.build.checkpoint import Checkpoint
from blockstore.build.cut import cut
from blockstore.build.prune import prunable, variants
from blockstore.build.retrain import Course, Losses, Retraining, Student
from tests.blockstore.build import networks

FRAMES = networks.frames(32).numpy()
COURSE = Course(epochs=3, batch_size=8, learning_rate=5e-3, seed=1, device="cpu")


def retraining(course: Course = COURSE) -> tuple[Retraining, list[Student]]:
    blocks = cut(networks.traced(networks.residual()), 2, lambda *_: 1.0, prunable)
    students = [
        Student(block.index, pruned.name, pruned.module)
        for block in blocks
        for pruned in variants(block, (0.25, 0.5), "l1", 2)[0]
    ]
    return Retraining(blocks, students, course), students


def weights(students: list[Student]) -> npt.NDArray[np.float32]:
    return np.concatenate([p.detach().numpy().ravel() for s in students for p in s.module.parameters()])


def run(trained: Retraining, epochs: int) -> list[Losses]:
    losses = []
    for _ in range(epochs):
        trained.run_epoch(FRAMES, lambda *_: None)
        losses.append(trained.losses)
    return losses


def test_every_variant_comes_nearer_to_its_original() -> None:
    first, *_, last = run(retraining()[0], 3)
    assert len(first) == 4
    assert all(last[key] < first[key] for key in first)


def test_a_variant_that_loses_less_ends_nearer() -> None:
    last = run(retraining()[0], 3)[-1]
    assert all(last[block, "pruned-25"] < last[block, "pruned-50"] for block in (0, 1))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    results = []
    for seed in (1, 1, 2):
        trained, students = retraining(Course(1, 8, 5e-3, seed, "cpu"))
        run(trained, 1)
        results.append(weights(students))
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_going_on_from_a_checkpoint_ends_where_an_unbroken_run_ends(tmp_path: Path) -> None:
    whole, expected = retraining()
    run(whole, 3)
    begun, _ = retraining()
    run(begun, 1)
    checkpoint = Checkpoint(tmp_path / "build", "key")
    checkpoint.save(begun.state(), begun.epoch)
    resumed, students = retraining()
    saved = checkpoint.load()
    assert saved is not None
    resumed.restore(*saved)
    assert resumed.losses == begun.losses
    run(resumed, 2)
    assert np.array_equal(weights(students), weights(expected))
    assert resumed.losses == whole.losses


def test_originals_are_not_trained() -> None:
    blocks = cut(networks.traced(networks.plain()), 1, lambda *_: 1.0, prunable)
    before = [p.clone() for p in blocks[0].module.parameters()]
    pruned = variants(blocks[0], (0.5,), "l1", 2)[0][0]
    run(Retraining(blocks, [Student(0, pruned.name, pruned.module)], COURSE), 1)
    assert all(torch.equal(a, b) for a, b in zip(before, blocks[0].module.parameters(), strict=True))


@pytest.mark.parametrize("content", [None, b"", b"damaged"])
def test_a_checkpoint_that_is_absent_or_damaged_is_no_checkpoint(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "build-key.safetensors").write_bytes(content)
    assert Checkpoint(tmp_path, "key").load() is None


def test_without_students_an_epoch_does_nothing() -> None:
    blocks = cut(networks.traced(networks.plain()), 1, lambda *_: 1.0, prunable)
    trained = Retraining(blocks, [], COURSE)
    run(trained, 1)
    assert trained.losses == {}
    assert trained.epoch == 1
