"""Reshapings compose: any two give a block that runs at any batch size, is saved, exported and retrained."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from blockstore import torchform
from blockstore.build.export import export
from blockstore.build.kinds import dpruner, prune, skip, tucker2
from blockstore.build.kinds.base import Reshaping
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.reshaping import parameters, scaled, whole

KINDS = {
    "prune": prune.parse(["0.5", "activation"]),
    "skip": skip.parse(["1"]),
    "tucker2": tucker2.parse(["0.6"]),
    "dpruner": dpruner.parse(["0.5", "0.6"]),
}


@pytest.mark.parametrize(("first", "second"), [*permutations(KINDS, 2), *((name, name) for name in KINDS)])
def test_two_reshapings_give_a_block_that_can_be_served_and_retrained(first: str, second: str) -> None:
    bench = whole(networks.residual)
    module = bench.reshape(KINDS[second], bench.reshape(KINDS[first]).module).module
    assert not any(p.requires_grad for p in module.parameters())
    inputs, target = next(bench.material.batches())
    assert [module(inputs[:n]).shape for n in (1, 3)] == [target[:n].shape for n in (1, 3)]
    assert torch.equal(torchform.load(torchform.save(module))(inputs), module(inputs))
    assert export(module, bench.block.input, inputs).onnx
    module.requires_grad_(True)
    module(inputs).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_constants_of_the_network_are_no_hindrance(kind: Reshaping, recwarn: pytest.WarningsRecorder) -> None:
    bench = whole(scaled)
    made = bench.reshape(kind).module
    inputs, target = next(bench.material.batches())
    assert made(inputs).shape == target.shape
    assert parameters(made) < parameters(bench.block.module)
    assert export(made, bench.block.input, inputs).onnx
    assert not [w for w in recwarn if w.category is UserWarning]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_reshaping_gives_the_same_bytes_again_and_shares_no_tensor(kind: Reshaping) -> None:
    bench = whole(networks.residual)
    before = torchform.save(bench.block.module)
    once, again = bench.reshape(kind).module, bench.reshape(kind).module
    assert torchform.save(once) == torchform.save(again)
    with torch.no_grad():
        for parameter in once.parameters():
            parameter.zero_()
    assert torchform.save(bench.block.module) == before
