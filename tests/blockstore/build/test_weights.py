"""Weights: a user's file into a user's network."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from blockstore.build.weights import check_network, load_weights
from blockstore.errors import CannotBuild


def network(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))


def trained() -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, 3) for name, tensor in network().state_dict().items()}


def saved(folder: Path, tensors: dict[str, Tensor]) -> Path:
    path = folder / "weights.safetensors"
    safetensors.torch.save_file(tensors, path)
    return path


@pytest.mark.parametrize("counters", [True, False])
def test_weights_are_loaded_by_name_with_or_without_counters(tmp_path: Path, counters: bool) -> None:
    tensors = {name: t for name, t in trained().items() if counters or not name.endswith("num_batches_tracked")}
    loaded = load_weights(network(), saved(tmp_path, tensors)).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_the_first_misfits_are_named_with_what_to_do(tmp_path: Path) -> None:
    tensors = {**trained(), "0.weight": torch.zeros(4, 1, 1, 1), "head.bias": torch.zeros(2)}
    del tensors["1.bias"]
    expected = (
        r"has weights of another network: 0\.weight is \[4, 1, 1, 1\], not \[4, 3, 1, 1\], no 1\.bias, unknown "
        r"head\.bias \(3 in all\); make the network with the arguments that it was trained with"
    )
    with pytest.raises(CannotBuild, match=expected):
        load_weights(network(), saved(tmp_path, tensors))


def test_a_network_that_is_refused_stays_as_it_was(tmp_path: Path) -> None:
    wider = network(8)
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    with pytest.raises(CannotBuild, match=r"\(6 in all\)"):
        load_weights(wider, saved(tmp_path, trained()))
    assert all(torch.equal(before[name], tensor) for name, tensor in wider.state_dict().items())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match=r"cannot read weights .*absent\.safetensors"):
        load_weights(network(), tmp_path / "absent.safetensors")
    torch.save(trained(), tmp_path / "weights.pt")
    with pytest.raises(CannotBuild, match=r"weights\.pt: .* \(they are a safetensors file\)"):
        load_weights(network(), tmp_path / "weights.pt")


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(CannotBuild, match=r"the network is a dict, not a torch\.nn\.Module: name a function"):
        check_network({})
