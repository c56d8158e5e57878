"""CIFAR-10: the parts, and intervals of the test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockstore.errors import CannotBuild
from blockstore.zoo.datasets import cifar10
from tests.blockstore.zoo.providers.packing import pack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        names = np.array(["a", "b"])
        pack(tmp_path / f"{part}.npz", (10, 60, 120, 240), (0, 1, 2, 3), (32, 32), "jpeg", classes=names)
    return tmp_path


def test_images_are_read_with_their_labels(folder: Path) -> None:
    data = cifar10(str(folder), train_limit=3)
    assert data.classes == ("a", "b")
    assert data.train().images.shape == (3, 32, 32, 3)
    assert data.train().images[:, 0, 0, 0].tolist() == pytest.approx([10, 60, 120], abs=3)
    assert data.held_out().class_labels().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("first", "limit", "labels"), [(0, 2, [0, 1]), (2, 0, [2, 3]), (1, 2, [1, 2]), (3, 5, [3]), (0, 0, [0, 1, 2, 3])]
)
def test_held_out_is_an_interval_of_the_test_images(folder: Path, first: int, limit: int, labels: list[int]) -> None:
    held_out = cifar10(str(folder), test_first=first, test_limit=limit).held_out()
    assert held_out.class_labels().tolist() == labels
    assert held_out.images[:, 0, 0, 0].tolist() == pytest.approx([(10, 60, 120, 240)[n] for n in labels], abs=3)


def test_an_interval_behind_the_last_image_is_refused(folder: Path) -> None:
    with pytest.raises(CannotBuild, match="has 4 images, none from number 4 on"):
        cifar10(str(folder), test_first=4).held_out()


def test_a_folder_without_cifar10_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match=r"test\.npz is not there"):
        cifar10(str(tmp_path))


@pytest.mark.shared
def test_the_shared_images_are_read(shared: Path) -> None:
    held_out = cifar10(str(shared / "data" / "cifar10"), test_first=7990).held_out()
    assert held_out.images.shape == (10, 32, 32, 3)
    assert held_out.images.std() > 30
