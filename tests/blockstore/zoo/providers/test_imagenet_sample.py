"""ImageNet crops: disjoint parts, and labels with and without the background."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockstore.block import TensorSpec
from blockstore.build.images import held_out, training
from blockstore.errors import CannotBuild
from blockstore.zoo.datasets import imagenet_sample
from tests.blockstore.zoo.providers.packing import pack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pack(tmp_path / "crops.npz", range(0, 70, 10), range(7), (16, 16), "jpeg")
    return tmp_path


def test_every_third_crop_is_held_out(folder: Path) -> None:
    data = imagenet_sample(str(folder))
    assert data.held_out().class_labels().tolist() == [2, 5]
    assert data.train().class_labels().tolist() == [0, 1, 3, 4, 6]
    assert data.train().images[:, 0, 0, 0].tolist() == pytest.approx([0, 10, 30, 40, 60], abs=3)
    assert len(data.classes) == 1000


def test_limits_take_the_first_of_either_part(folder: Path) -> None:
    data = imagenet_sample(str(folder), train_limit=3, test_limit=1)
    assert data.train().class_labels().tolist() == [0, 1, 3]
    assert data.held_out().class_labels().tolist() == [2]


def test_with_a_background_labels_are_one_higher_and_classes_one_more(folder: Path) -> None:
    data = imagenet_sample(str(folder), background=1)
    assert data.held_out().class_labels().tolist() == [3, 6]
    assert len(data.classes) == 1001


def test_classes_are_named_by_a_file_of_as_many_lines(folder: Path) -> None:
    names = folder / "names.txt"
    names.write_text("\n".join(f"class {i}" for i in range(1000)))
    assert imagenet_sample(str(folder), names=str(names)).classes[7] == "class 7"
    with pytest.raises(CannotBuild, match="names 1000 classes, the data set has 1001"):
        imagenet_sample(str(folder), background=1, names=str(names))


def test_another_background_is_refused(folder: Path) -> None:
    with pytest.raises(CannotBuild, match="background is 2"):
        imagenet_sample(str(folder), background=2)


@pytest.mark.shared
def test_the_shared_crops_are_what_the_builder_takes(shared: Path) -> None:
    names = str(shared / "models" / "imagenet-labels.txt")
    sample = str(shared / "data" / "imagenet-sample")
    data = imagenet_sample(sample, background=1, names=names, train_limit=3, test_limit=3)
    expected = TensorSpec("uint8", (224, 224, 3))
    assert len(training(data, expected)) == len(held_out(data, expected)) == 3
    assert data.classes[:2] == ("background", "tench")
