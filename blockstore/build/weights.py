"""Weights: a user's network with what is in a safetensors file."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from blockstore.errors import CannotBuild


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """`network` with the weights of a safetensors file; `CannotBuild` names what is missing or does not fit."""
    check_network(network)
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CannotBuild(f"cannot read weights {path}: {error} (they are a safetensors file)") from error
    # Counters of batch normalisation: some files lack them, and nothing is computed from them.
    counters = {name: t for name, t in network.state_dict().items() if name.endswith("num_batches_tracked")}
    given = {**counters, **tensors}
    expected = network.state_dict()
    misfits = [
        *(f"no {name}" for name in expected.keys() - given.keys()),
        *(f"unknown {name}" for name in given.keys() - expected.keys()),
        *(
            f"{name} is {list(given[name].shape)}, not {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in given and given[name].shape != tensor.shape
        ),
    ]
    if misfits:
        raise CannotBuild(
            f"{path} has weights of another network: {', '.join(sorted(misfits)[:4])} ({len(misfits)} in all); make "
            "the network with the arguments that it was trained with, or give the weights of this one"
        )
    network.load_state_dict(given)
    return network


def check_network(network: object) -> None:
    """Refuse what is no network: `CannotBuild`."""
    if not isinstance(network, nn.Module):
        raise CannotBuild(
            f"the network is a {type(network).__name__}, not a torch.nn.Module: name a function that returns one"
        )
