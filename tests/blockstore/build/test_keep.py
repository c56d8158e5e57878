"""Modules in the work folder: they come back as they were, names and all."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import fx, nn

from blockstore.build.checkpoint import Work
from blockstore.build.keep import get_block, get_module, put_block, put_module
from tests.blockstore.build import crafting, networks


class Numbered(nn.Module):
    """Its layers are called as those of a torch form, in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.m1, self.m0 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.m0(self.m1(x))
        return y


def targets(module: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "call_module"]


def test_a_block_comes_back_with_its_names_and_computes_the_same(tmp_path: Path) -> None:
    work, x = Work(tmp_path), networks.frames(4)
    for block in crafting.blocks():
        put_block(work, block)
        found = get_block(work, block.index)
        assert (found.index, found.name, found.input, found.output) == (
            block.index,
            block.name,
            block.input,
            block.output,
        )
        assert targets(found.module) == targets(block.module)
        assert torch.equal(found.module(x), block.module(x))
        x = block.module(x)


def test_layers_that_are_called_like_those_of_a_torch_form_are_not_mixed_up(tmp_path: Path) -> None:
    work, module = Work(tmp_path), fx.symbolic_trace(Numbered())
    put_module(work, "numbered", module, {"share": 0.5})
    found = get_module(work, "numbered")
    assert found is not None
    kept, about = found
    assert about == {"share": 0.5}
    assert targets(kept) == ["m1", "m0"]
    x = torch.rand(1, 3, 2, 2)
    assert torch.equal(kept(x), module(x))


def test_a_module_of_which_half_is_missing_or_damaged_is_absent(tmp_path: Path) -> None:
    work = Work(tmp_path)
    assert get_module(work, "a") is None
    for half in ("a.json", "a.safetensors"):
        put_module(work, "a", crafting.blocks()[0].module)
        (tmp_path / half).write_bytes(b"damage")
        assert get_module(work, "a") is None
