"""The catalogue of data sets: each is called by its name, as on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockstore.build import named
from blockstore.errors import CannotBuild


@pytest.mark.parametrize("name", ["digits", "digit_boxes"])
def test_data_sets_without_files_are_made(name: str) -> None:
    data = named.call(f"blockstore.zoo.datasets:{name}?train_limit=2&test_limit=1")
    assert (len(data.train()), len(data.held_out())) == (2, 1)


@pytest.mark.parametrize("name", ["cifar10", "faces", "imagenet_sample", "video"])
def test_data_sets_of_files_say_what_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match=str(tmp_path)):
        named.call(f"blockstore.zoo.datasets:{name}?path={tmp_path}").train()
