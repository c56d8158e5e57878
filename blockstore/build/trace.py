"""Trace: a network becomes one fx graph that takes camera frames, with its batch normalisation folded away."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from blockstore.block import TensorSpec
from blockstore.build.outputs import pack
from blockstore.build.sizes import is_per_frame, localise, record
from blockstore.build.through_onnx import through_onnx
from blockstore.errors import BlockStoreError, CannotCut, UnsupportedOperator
from blockstore.torchform import check_supported
from blockstore.torchform.whitelist import MODULES
from blockstore.zoo.preprocess import Preprocess


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A network in evaluation mode as one graph.

    Every node that makes a tensor with one row for each frame has `meta["tensor_meta"]`.
    """

    module: fx.GraphModule
    input: TensorSpec
    output: TensorSpec
    """The one tensor that leaves: where the network has several outputs, all of them flattened and joined."""
    outputs: tuple[TensorSpec, ...]
    """What the network itself gives, in order; of one output, the same as `output`."""


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

    By torch.fx where that can, else by torch.export. Batch normalisation is folded into the convolution before it and
    dropout is taken out: blocks are retrained and served without either. Several outputs are packed into one tensor,
    `[batch, total]` (tuples, lists and dictionaries are opened). Raises `CannotCut` where neither route can trace the
    network, it does not take `frames` or does not give one row for each of them; `UnsupportedOperator` for an operator
    outside of the torch form's whitelist.
    """
    network.eval().requires_grad_(False)
    try:
        module = _by_fx(network, preprocess, frames)
    except (CannotCut, UnsupportedOperator) as error:
        module = _by_export(network, preprocess, frames, error)
    outputs = pack(module, example(frames, 1))
    return Traced(module, frames, _note_shapes(module, frames), outputs)


def example(spec: TensorSpec, batch: int = 2) -> Tensor:
    """Zeros of `spec` with a batch dimension."""
    return torch.zeros((batch, *spec.shape), dtype=getattr(torch, spec.dtype))


def spec_of(node: fx.Node) -> TensorSpec | None:
    """What `node` gives, without the batch dimension; None where that is no tensor with one row for each frame."""
    meta = node.meta.get("tensor_meta")
    if not isinstance(meta, TensorMetadata):
        return None
    return TensorSpec(str(meta.dtype).removeprefix("torch."), tuple(int(n) for n in meta.shape[1:]))


def _by_fx(network: nn.Module, preprocess: Preprocess, frames: TensorSpec) -> fx.GraphModule:
    whole = _FromFrames(preprocess, network).eval()
    module = _without_idle(_with_reshape(_folded(fx.GraphModule(whole, _graph(whole)))))
    try:
        module = localise(module, example(frames, 1))
    except RuntimeError as error:
        first = (str(error).splitlines() or [""])[0]
        raise CannotCut(f"the network does not run on frames of {frames}: {first}") from error
    _constants_beside_users(module)
    check_supported(module)
    return module


def _graph(whole: _FromFrames) -> fx.Graph:
    if isinstance(whole.network, fx.GraphModule):
        return _behind_preprocess(whole.network.graph)
    try:
        return _Tracer().trace(whole)
    # fx raises whatever the network's own code raises when it is given proxies in place of tensors.
    except Exception as error:
        raise CannotCut(f"torch.fx cannot trace the network: {error} (at {_place(error)})") from error


def _behind_preprocess(network: fx.Graph) -> fx.Graph:
    """A graph as it is, with the names that its operators have, as tracing `_FromFrames` would place it."""
    graph = fx.Graph()
    entry = graph.call_module("preprocess", (graph.placeholder("frames"),))
    (placeholder,) = (node for node in network.nodes if node.op == "placeholder")
    result = graph.graph_copy(network, {placeholder: entry})
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr") and node is not entry:
            node.target = f"network.{node.target}"
    graph.output(result)
    return graph


def _by_export(
    network: nn.Module, preprocess: Preprocess, frames: TensorSpec, fault: CannotCut | UnsupportedOperator
) -> fx.GraphModule:
    """The graph through torch.export; where that fails too, `fault` of torch.fx with the second reason."""
    try:
        return _by_fx(through_onnx(network, preprocess(example(frames, 1))), preprocess, frames)
    except BlockStoreError as error:
        raise type(fault)(f"{fault}; nor the other way: {error}") from error


def _note_shapes(module: fx.GraphModule, frames: TensorSpec) -> TensorSpec:
    """Note the shape of every node that gives one row for each frame; returns that of the output."""
    small, large = record(module, example(frames, 1))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        ShapeProp(module).propagate(example(frames))
    for node in module.graph.nodes:
        if not is_per_frame(small[node], large[node]):
            node.meta.pop("tensor_meta", None)
    (leaving,) = (node.args[0] for node in module.graph.nodes if node.op == "output")
    assert isinstance(leaving, fx.Node), "outputs are packed before"
    spec = spec_of(leaving)
    assert spec is not None, "packing checks that there is a row for each frame"
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


def _constants_beside_users(module: fx.GraphModule) -> None:
    """A constant is fetched right where it is used, so that it crosses no cut."""
    for node in [n for n in module.graph.nodes if n.op == "get_attr"]:
        for user in list(node.users):
            with module.graph.inserting_before(user):
                user.replace_input_with(node, module.graph.node_copy(node))
        module.graph.erase_node(node)
    module.recompile()


def _place(error: Exception) -> str:
    """File, line and text of the innermost line outside of torch: the operator that cannot be traced."""
    inside = str(Path(torch.__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((inside, "<"))]
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno}: {last.line}"
