"""Packed images: read one by one, and what is wrong with a file is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockstore.errors import CannotBuild
from blockstore.zoo.providers import packed
from tests.blockstore.zoo.providers.packing import pack


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "images.npz"
    pack(file, (10, 60, 240), (2, 0, 1), (32, 24), "jpeg", classes=np.array(["a", "b", "c"]))
    return file


def test_the_chosen_images_are_decoded_in_order(path: Path) -> None:
    images = packed.read(path, "jpeg")
    assert len(images) == 3
    assert images.labels.tolist() == [2, 0, 1]
    decoded = images.images([2, 0])
    assert decoded.shape == (2, 24, 32, 3)
    assert decoded[:, 0, 0, 0].tolist() == pytest.approx([240, 10], abs=3)
    assert packed.classes(path) == ("a", "b", "c")


def test_choosing_nothing_is_refused(path: Path) -> None:
    with pytest.raises(CannotBuild, match="no image of the 3"):
        packed.read(path, "jpeg").images([])


def test_a_file_that_is_not_there_or_no_npz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match=r"images\.npz is not there"):
        packed.read(tmp_path / "images.npz", "jpeg")
    (tmp_path / "images.npz").write_bytes(b"PK not really")
    with pytest.raises(CannotBuild, match=r"cannot be read as \.npz"):
        packed.read(tmp_path / "images.npz", "jpeg")


def test_arrays_that_are_missing_or_do_not_fit_are_named(path: Path) -> None:
    with pytest.raises(CannotBuild, match="no array png; it has jpeg, offsets"):
        packed.read(path, "png")
    np.savez(path, jpeg=np.zeros(4, np.uint8), offsets=np.array([0, 4]), labels=np.array([0, 1]))
    with pytest.raises(CannotBuild, match="2 offsets for 2 labels"):
        packed.read(path, "jpeg")


def test_an_array_of_objects_is_not_unpickled(path: Path) -> None:
    np.savez(path, jpeg=np.array([{}], dtype=object), offsets=np.array([0, 1]), labels=np.array([0]))
    with pytest.raises(CannotBuild, match="cannot be read"):
        packed.read(path, "jpeg")


def test_a_damaged_image_is_named(path: Path) -> None:
    whole = packed.read(path, "jpeg")
    blob = bytearray(whole.blob)
    blob[whole.offsets[1] : whole.offsets[2]] = bytes(whole.offsets[2] - whole.offsets[1])
    damaged = packed.Packed(path, bytes(blob), whole.offsets, whole.labels)
    with pytest.raises(CannotBuild, match=r"image 1 of .* cannot be decoded"):
        damaged.images([0, 1])


def test_images_of_different_sizes_are_refused(path: Path) -> None:
    whole = packed.read(path, "jpeg")
    pack(path, (10,), (0,), (16, 16), "jpeg")
    other = packed.read(path, "jpeg")
    both = packed.Packed(
        path,
        whole.blob + other.blob,
        np.concatenate([whole.offsets, whole.offsets[-1] + other.offsets[1:]]),
        np.concatenate([whole.labels, other.labels]),
    )
    with pytest.raises(CannotBuild, match="of different sizes"):
        both.images(range(4))
