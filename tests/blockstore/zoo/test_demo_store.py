"""The shipped store holds what it promises, and its accuracy is what the held-out digits say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from blockstore.block import Model
from blockstore.build.export import run, session
from blockstore.store import Store
from blockstore.zoo.demo_store import NETWORKS
from schedulerd.demo.digits import ARCHIVE, Frames, held_out


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    opened = Store.open(tmp_path_factory.mktemp("demo") / "store", create=True)
    opened.import_archive(ARCHIVE)
    return opened


@pytest.fixture(scope="module")
def frames() -> Frames:
    return held_out()


def accuracy(store: Store, model: Model, pick: int, frames: Frames, count: int) -> float:
    """Share of the first `count` held-out frames that the route of the variants at `pick` labels correctly."""
    runners = []
    for block in model.blocks:
        artifact = block.variants[pick].artifact("onnxruntime")
        assert artifact is not None
        runners.append(session(store.path(artifact.digest).read_bytes(), threads=1))
    correct = 0
    for start in range(0, count, 8):
        x: npt.NDArray[Any] = frames.images[start : start + 8]
        for runner in runners:
            x = run(runner, x)
        correct += int((x.argmax(1) == frames.labels[start : start + 8]).sum())
    return correct / count


def test_the_archive_is_small() -> None:
    assert ARCHIVE.stat().st_size < 6_000_000


def test_every_network_has_four_blocks_of_four_variants_in_both_forms(store: Store) -> None:
    assert store.models() == tuple(sorted(NETWORKS))
    for name in store.models():
        model = store.model(name)
        assert len(model.blocks) >= 4
        for block in model.blocks:
            assert len(block.variants) >= 4
            assert all(v.artifact("onnxruntime") and v.artifact("torch") for v in block.variants)


def test_smaller_variants_compute_less(store: Store) -> None:
    for name in store.models():
        for block in store.model(name).blocks:
            counts = [v.multiply_adds for v in block.variants]
            assert counts == sorted(counts, reverse=True)
            assert counts[-1] < 0.5 * counts[0]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_accuracy_is_that_of_the_frames_which_clients_stream(store: Store, frames: Frames, name: str) -> None:
    model = store.model(name)
    assert model.evaluated_images == len(frames.labels)
    measured = accuracy(store, model, 0, frames, 160)
    # 160 of 449 frames: three standard errors of a share near the stated one.
    assert abs(measured - model.accuracy) < 3 * np.sqrt(model.accuracy * (1 - model.accuracy) / 160) + 0.01


def test_held_out_frames_are_what_the_networks_take(store: Store, frames: Frames) -> None:
    for name in store.models():
        assert store.model(name).input.shape == frames.images.shape[1:]
    assert set(frames.labels.tolist()) == set(range(10))


def test_the_shipped_digits_are_small_and_hold_no_objects() -> None:
    path = Path(str(ARCHIVE)).with_name("digits-heldout.npz")
    assert path.stat().st_size < 60_000
    with np.load(path, allow_pickle=False) as file:
        assert set(file.files) == {"digits", "labels"}
