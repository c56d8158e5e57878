"""Modules in the work folder: torch forms, with the layers called as the network calls them."""

from __future__ import annotations

from typing import Any

from torch import fx

from blockstore import torchform
from blockstore.block import TensorSpec
from blockstore.build.checkpoint import Work
from blockstore.build.cut import CutBlock


def put_module(work: Work, name: str, module: fx.GraphModule, about: Any = None) -> None:
    """Keep `module` as `name`, with `about`, any JSON; there is nothing to be read before all of it is kept."""
    work.discard(f"{name}.json")
    work.put(f"{name}.safetensors", torchform.save(module))
    work.put_json(f"{name}.json", {"layers": _layers(module), "about": about})


def get_module(work: Work, name: str) -> tuple[fx.GraphModule, Any] | None:
    """A module that was kept, frozen, on the CPU, and what was noted about it; None where there is none undamaged."""
    document, data = work.get_json(f"{name}.json"), work.get(f"{name}.safetensors")
    if document is None or data is None:
        return None
    return _called(torchform.load(data), document["layers"]), document["about"]


def put_block(work: Work, block: CutBlock) -> None:
    """Keep a block of the original network."""
    specs = [[spec.dtype, list(spec.shape)] for spec in (block.input, block.output)]
    put_module(work, _block_name(block.index), block.module, {"name": block.name, "specs": specs})


def get_block(work: Work, index: int) -> CutBlock:
    """A block that was kept."""
    found = get_module(work, _block_name(index))
    assert found is not None, "blocks are kept before any work on them begins"
    module, about = found
    source, output = (TensorSpec(dtype, tuple(shape)) for dtype, shape in about["specs"])
    return CutBlock(index, about["name"], module, source, output)


def _block_name(index: int) -> str:
    return f"blocks/{index:03}"


def _layers(module: fx.GraphModule) -> list[str]:
    """Names of the layers in order of their first use, which is how a torch form numbers them."""
    return list(dict.fromkeys(str(node.target) for node in module.graph.nodes if node.op == "call_module"))


def _called(module: fx.GraphModule, layers: list[str]) -> fx.GraphModule:
    """`module`, whose layers are m0, m1, ..., with the names `layers`."""
    numbered = {f"m{number}": name for number, name in enumerate(layers)}
    found = {name: module.get_submodule(number) for number, name in numbered.items()}
    for node in module.graph.nodes:
        if node.op == "call_module":
            node.target = numbered[str(node.target)]
    # All old names go before the first new one comes: a network may itself have a layer called m0.
    for number in numbered:
        module.delete_submodule(number)
    for name, layer in found.items():
        module.add_submodule(name, layer)
    module.recompile()
    return module
