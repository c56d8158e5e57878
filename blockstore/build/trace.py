"""Trace: a network becomes one fx graph that takes camera frames, with its batch normalisation folded away."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from blockstore.block import TensorSpec
from blockstore.errors import CannotCut
from blockstore.torchform import MODULES, check_supported
from blockstore.zoo.preprocess import Preprocess


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A network in evaluation mode as one graph; every node that makes a tensor has `meta["tensor_meta"]`."""

    module: fx.GraphModule
    input: TensorSpec
    output: TensorSpec


class _FromFrames(nn.Module):
    def __init__(self, preprocess: Preprocess, network: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.network = network

    def forward(self, frames: Tensor) -> Any:
        return self.network(self.preprocess(frames))


class _Tracer(fx.Tracer):
    """Does not look into the modules that the torch form knows."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return type(module) in MODULES or super().is_leaf_module(module, qualified_name)


def trace(network: nn.Module, preprocess: Preprocess, frames: TensorSpec) -> Traced:
    """`network` behind `preprocess`, as a graph of operators that the torch form knows.

    Batch normalisation is folded into the convolution before it and dropout is taken out: blocks are retrained and
    served without either. Raises `CannotCut` where fx cannot trace the network, `UnsupportedOperator` for an operator
    outside of the torch form's whitelist.
    """
    whole = _FromFrames(preprocess, network).eval().requires_grad_(False)
    try:
        graph = _Tracer().trace(whole)
    # fx raises whatever the network's own code raises when it is given proxies in place of tensors.
    except Exception as error:
        raise CannotCut(f"torch.fx cannot trace the network: {error} (at {_place(error)})") from error
    module = _without_idle(_with_reshape(_folded(fx.GraphModule(whole, graph))))
    check_supported(module)
    return Traced(module, frames, _propagate(module, frames))


def example(spec: TensorSpec, batch: int = 2) -> Tensor:
    """Zeros of `spec` with a batch dimension."""
    return torch.zeros((batch, *spec.shape), dtype=getattr(torch, spec.dtype))


def spec_of(node: fx.Node) -> TensorSpec | None:
    """What `node` gives, without the batch dimension; None where that is no tensor."""
    meta = node.meta.get("tensor_meta")
    if not isinstance(meta, TensorMetadata):
        return None
    return TensorSpec(str(meta.dtype).removeprefix("torch."), tuple(int(n) for n in meta.shape[1:]))


def _propagate(module: fx.GraphModule, frames: TensorSpec) -> TensorSpec:
    """Note the shape of every node; returns the shape of the output."""
    with torch.no_grad():
        ShapeProp(module).propagate(example(frames))
    (result,) = (n.args[0] for n in module.graph.nodes if n.op == "output")
    spec = spec_of(result) if isinstance(result, fx.Node) else None
    if spec is None:
        raise CannotCut(f"the network returns {result}, not one tensor")
    return spec


def _folded(module: fx.GraphModule) -> fx.GraphModule:
    """Batch normalisation becomes part of the convolution before it, where nothing else reads that one."""
    folded = fuse(module, no_trace=True)
    assert isinstance(folded, fx.GraphModule)
    return folded


def _with_reshape(module: fx.GraphModule) -> fx.GraphModule:
    """`view` fails on tensors that are stored channels last, `reshape` gives the same for any."""
    for node in module.graph.nodes:
        if node.op == "call_method" and node.target == "view":
            node.target = "reshape"
    module.recompile()
    return module


def _without_idle(module: fx.GraphModule) -> fx.GraphModule:
    """Dropout and identity do nothing in evaluation mode."""
    modules = dict(module.named_modules())
    for node in list(module.graph.nodes):
        if node.op == "call_module" and isinstance(modules[str(node.target)], nn.Dropout | nn.Identity):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module


def _place(error: Exception) -> str:
    """File, line and text of the innermost line outside of torch: the operator that cannot be traced."""
    inside = str(Path(torch.__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((inside, "<"))]
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno}: {last.line}"
