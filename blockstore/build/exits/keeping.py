"""Heads that have learnt as bytes, and back: what a killed build goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import safetensors.torch
import torch

from blockstore.block import TensorSpec
from blockstore.build.exits.heads import Head
from blockstore.build.exits.learning import Learner


def dump(learners: Sequence[Learner], about: str) -> bytes:
    """A safetensors file with the weights of the heads; `about` says what decided what they became."""
    # Copies: a head that nothing could be taken from stands on both sides of a search.
    tensors = {
        f"{number}/{name}": tensor.clone(memory_format=torch.contiguous_format)
        for number, learner in enumerate(learners)
        for name, tensor in learner.head.state_dict().items()
    }
    filters = json.dumps([learner.head.design.filters for learner in learners])
    return safetensors.torch.save(tensors, metadata={"about": about, "filters": filters})


def restored(
    data: bytes,
    learners: Sequence[Learner],
    about: str,
    specs: Callable[[Sequence[int]], tuple[TensorSpec, ...]],
    output: TensorSpec,
) -> bool:
    """Give `learners`, as they were before they learnt, the heads that are in `data`; False where these are others.

    `specs` tells what the outputs of blocks are.
    """
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    if metadata["about"] != about:
        return False
    tensors = safetensors.torch.load(data)
    for number, (learner, filters) in enumerate(zip(learners, json.loads(metadata["filters"]), strict=True)):
        learner.head = Head(learner.head.design.with_filters(tuple(filters)), specs(learner.inputs), output)
        own = {name.removeprefix(f"{number}/"): t for name, t in tensors.items() if name.startswith(f"{number}/")}
        learner.head.load_state_dict(own)
        learner.head.eval().requires_grad_(False)
    return True
