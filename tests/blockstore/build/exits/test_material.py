"""What exits learn from and are judged on, along real routes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from blockstore.accuracy_model import Route
from blockstore.build.exits.confidence import max_probability
from blockstore.build.exits.features import Variants
from blockstore.build.exits.material import Judge, full_outputs, lessons, look, tempered
from blockstore.build.exits.school import learners_of
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.tasks.classification import Classification
from tests.blockstore.build.exits import coloured


@dataclass(frozen=True, slots=True, eq=False)
class Spied(Variants):
    """Remembers the routes that were walked."""

    walked: list[Route]

    def walk(
        self, route: Route, images: npt.NDArray[np.uint8], wanted: Collection[int]
    ) -> dict[int, npt.NDArray[np.float32]]:
        self.walked.append(route)
        # A dataclass with slots is another class than the one that `super()` knows.
        return Variants.walk(self, route, images, wanted)


@pytest.fixture
def variants(tmp_path: Path) -> Spied:
    loaded = Variants.load(coloured.finished(tmp_path, coloured.blocks(), halved=(0, 1)), threads=1)
    return Spied(loaded.names, loaded.sessions, [])


@pytest.mark.parametrize(("sampled", "least", "most"), [(0.0, 0, 0), (0.5, 15, 40), (1.0, 60, 60)])
def test_the_wanted_share_of_the_batches_comes_through_drawn_variants(
    variants: Spied, sampled: float, least: int, most: int
) -> None:
    stream = lessons(variants, coloured.pictures(32, 0), batch_size=8, sampled=sampled, augment=False).stream([0], 0)
    for _ in range(60):
        next(stream)
    assert len(variants.walked) == 60
    others = sum(route != variants.original for route in variants.walked)
    # A drawn route may be that of originals: a quarter of them are.
    assert 0.6 * least <= others <= most
    assert set(variants.walked) <= {(a, b, 0, 0) for a in (0, 1) for b in (0, 1)}
    assert (len(set(variants.walked)) == 4) is (sampled > 0)


def test_batches_hold_the_outputs_of_the_wanted_blocks_and_the_labels_of_the_same_images(variants: Spied) -> None:
    images = coloured.pictures(16, 0)
    stream = lessons(variants, images, batch_size=16, sampled=0.0, augment=False).stream([1, 2], 0)
    batch = next(stream)
    assert sorted(batch.features) == [1, 2]
    expected = variants.walk(variants.original, images.images, {2})[2]
    for row, label in zip(batch.features[2].numpy(), batch.target.tolist(), strict=True):
        (number,) = (i for i, known in enumerate(expected) if np.allclose(known, row, atol=1e-4))
        assert images.class_labels()[number] == label


def test_lessons_of_one_seed_are_the_same(variants: Spied) -> None:
    taught = lessons(variants, coloured.pictures(16, 0), batch_size=4, sampled=0.5, augment=True)
    one, other, another = (next(taught.stream([0], seed)).features[0] for seed in (0, 0, 1))
    assert torch.equal(one, other)
    assert not torch.equal(one, another)


def test_without_labels_heads_learn_what_the_original_says_of_the_images_as_they_are(variants: Spied) -> None:
    images = coloured.pictures(16, 0)
    taught = lessons(variants, images.unlabelled(), batch_size=4, sampled=0.5, augment=True)
    assert torch.equal(taught.targets, torch.from_numpy(full_outputs(variants, images.images)))
    assert not taught.augment


def test_a_look_is_that_of_the_heads_and_of_the_end_in_the_order_of_the_images(variants: Spied) -> None:
    blocks = coloured.blocks()
    learners = learners_of(blocks, blocks[-1].output, ExitSettings("mxn", after=(1, 2)), Classification(), 0)
    for learner in learners:
        learner.head.eval()
    images = coloured.pictures(70, 0).images
    found = look(variants, learners, images, lambda: variants.original)
    features = {b: torch.from_numpy(t) for b, t in variants.walk(variants.original, images, {1, 2, 3}).items()}
    with torch.no_grad():
        assert torch.allclose(found.logits[1], learners[1].head(features[1], features[2]), atol=1e-4)
    assert torch.allclose(found.full, features[3], atol=1e-4)


def test_answers_are_worth_what_the_task_says_of_each(variants: Spied) -> None:
    data = coloured.pictures(12, 0)
    judge = Judge(Classification(), variants, data)
    right = torch.eye(4)[torch.from_numpy(data.class_labels())]
    right[3] = right[3].roll(1)
    assert judge.worth(right).tolist() == [1.0] * 3 + [0.0] + [1.0] * 8


def test_without_labels_an_answer_is_worth_its_likeness_to_the_original(variants: Spied) -> None:
    data = coloured.pictures(12, 0).unlabelled()
    judge = Judge(Classification(), variants, data)
    outputs = torch.from_numpy(full_outputs(variants, data.images))
    assert judge.worth(outputs).tolist() == [1.0] * 12
    # The temperature too is that under which the original's classes are explained best.
    assert judge.temperature([outputs]) < 1.0


def test_a_temperature_divides_before_anything_is_measured() -> None:
    logits: Tensor = torch.tensor([[2.0, 0.0]])
    assert torch.equal(tempered(max_probability, 2.0)(logits), max_probability(torch.tensor([[1.0, 0.0]])))
