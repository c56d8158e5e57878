"""Faces: whole persons are held out, and a face keeps its proportions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockstore.block import TensorSpec
from blockstore.build.images import held_out, training
from blockstore.errors import CannotBuild
from blockstore.zoo.datasets import faces
from tests.blockstore.zoo.providers.packing import pack, pack_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pack(tmp_path / "orl.npz", (50, 60, 70, 80, 90, 100), (0, 0, 1, 1, 2, 2), (92, 112), "png")
    return tmp_path


def test_no_person_is_in_both_parts(folder: Path) -> None:
    data = faces(str(folder), held_out_from=2)
    assert data.train().class_labels().tolist() == [0, 0, 1, 1]
    assert data.held_out().class_labels().tolist() == [2, 2]
    assert len(data.classes) == 3


def test_pictures_are_centred_in_frames_with_black_at_the_sides(folder: Path) -> None:
    images = faces(str(folder), held_out_from=2).held_out().images
    assert images.shape == (2, 112, 112, 3)
    assert images[0, :, 10:102].min() == images[0, :, 10:102].max() == 90
    assert images[:, :, :10].max() == images[:, :, 102:].max() == 0


def test_pictures_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    pack(tmp_path / "orl.npz", (50, 60), (0, 1), (128, 128), "png")
    with pytest.raises(CannotBuild, match="pictures are 128x128"):
        faces(str(tmp_path), held_out_from=1).train()


def test_persons_behind_the_interval_are_in_neither_part(folder: Path) -> None:
    data = faces(str(folder), held_out_from=1, held_out_to=2)
    assert data.train().class_labels().tolist() == [0, 0]
    assert data.held_out().class_labels().tolist() == [1, 1]


def test_labels_can_be_left_out(folder: Path) -> None:
    data = faces(str(folder), held_out_from=2, labelled=0)
    assert data.train().labels is None
    assert data.held_out().labels is None
    assert len(data.held_out()) == 2


def test_mirror_images_are_added_to_the_training_pictures_only(folder: Path) -> None:
    pictures = np.zeros((1, 112, 92), np.uint8)
    pictures[:, :, :46] = 200
    pack_pictures(folder / "orl.npz", [*pictures] * 2, (0, 1), "png")
    data = faces(str(folder), held_out_from=1, mirrored=1)
    first, second = data.train().images
    assert np.array_equal(first, second[:, ::-1])
    assert not np.array_equal(first, second)
    assert data.train().class_labels().tolist() == [0, 0]
    assert len(data.held_out()) == 1


@pytest.mark.parametrize(("first", "last"), [(0, 2), (2, 2), (3, 0), (1, 4)])
def test_some_persons_must_be_in_each_part(folder: Path, first: int, last: int) -> None:
    with pytest.raises(CannotBuild, match="of 3: leave some"):
        faces(str(folder), held_out_from=first, held_out_to=last)


@pytest.mark.shared
def test_the_shared_faces_are_what_the_builder_takes(shared: Path) -> None:
    data = faces(str(shared / "data" / "faces"))
    expected = TensorSpec("uint8", (112, 112, 3))
    assert len(training(data, expected)) == 300
    assert np.bincount(held_out(data, expected).class_labels())[-10:].tolist() == [10] * 10
