"""Tucker-2: a convolution becomes 1x1, DxD, 1x1 over fewer channels, `tucker2:SHARE`.

DeepMon (Huynh, PhD thesis 2019, section 3.4.4), after Kim et al. 2016: the weight T[N, C, D, D] is approximated by a
core T'[N', C', D, D] and one matrix for each of the channel dimensions, which are 1x1 convolutions. SHARE is the share
of the weight's sum of squares, its variance around zero, that the approximation keeps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tensorly.decomposition import partial_tucker
from torch import Tensor, fx, nn

from blockstore.build.cut import CutBlock
from blockstore.build.kinds import arguments as given
from blockstore.build.kinds.base import Declined, Facts, Material, Reshaped, Reshaping
from blockstore.build.kinds.graphs import Sizes, sizes_of
from blockstore.build.kinds.widths import quicker, round_up

Weight = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Channels that the core makes (N') and takes (C')."""

    outputs: int
    inputs: int


def parse(arguments: Sequence[str]) -> Reshaping:
    """The kind of `SHARE`; raises `CannotBuild`."""
    given.check_count(arguments, 1, 1, "tucker2:SHARE")
    return Tucker2(given.share(arguments[0], "the share of the variance that is kept"))


@dataclass(frozen=True, slots=True)
class Tucker2:
    """Decomposes every convolution larger than 1x1 that costs fewer multiply-adds so."""

    share: float

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        """`module` with exact ranks, or with ranks rounded up where they are measured no slower."""
        layers = _candidates(module)
        if not layers:
            raise Declined("no convolution of one group is larger than 1x1: Tucker-2 is for those")
        sizes = sizes_of(module, block.input)
        found = {name: ranks_for(_weight(layer), self.share) for name, layer in layers.items()}
        exact = {name: ranks for name, ranks in found.items() if _saves(module, name, ranks, sizes)}
        if not exact:
            raise Declined(
                f"{self.share:g} of the variance needs ranks with which no convolution has fewer multiply-adds: "
                "lower the share"
            )
        aligned = {name: _aligned(module, name, ranks, sizes, material) for name, ranks in exact.items()}
        chosen = _decomposed(module, exact)
        facts: Facts = {"widths": "exact"}
        if aligned != exact:
            chosen, facts = quicker(chosen, _decomposed(module, aligned), block.input, material)
        return Reshaped(chosen, {"convolutions": len(layers), "decomposed": len(exact), **facts})


def ranks_for(weight: Weight, share: float) -> Ranks:
    """The smallest ranks of `weight`, `[N, C, D, D]`, that keep `share` of its sum of squares: two binary searches.

    The first finds the smallest N' whose projection alone loses at most half of what may be lost, the second the
    smallest C' with which both together keep `share`.
    """
    kept = _kept_squares(weight)
    most_outputs, most_inputs = kept.shape
    halfway = (1 + share) / 2
    outputs = _smallest(most_outputs, lambda rank: kept[rank - 1, most_inputs - 1] >= halfway)
    inputs = _smallest(most_inputs, lambda rank: kept[outputs - 1, rank - 1] >= share)
    return _limited(Ranks(outputs, inputs), weight.shape)


def _kept_squares(weight: Weight) -> Weight:
    """`[N, C]`: the share of the sum of squares that ranks (n + 1, c + 1) keep.

    Projections on the leading singular vectors of both unfoldings (HOSVD): the factors are orthonormal, so what ranks
    keep are the squares in that corner of the core.
    """
    full = _limited(Ranks(*weight.shape[:2]), weight.shape)
    (core, _), _ = _partial_tucker(weight, full, iterations=0)
    squares = np.square(core).sum(axis=(2, 3))
    sums: Weight = squares.cumsum(0).cumsum(1)
    kept: Weight = sums / max(sums[-1, -1], np.finfo(np.float64).tiny)
    return kept


def _limited(ranks: Ranks, shape: Sequence[int]) -> Ranks:
    """`ranks` without what can add nothing: an unfolding `[N, C' * D * D]` has at most its smaller side as rank."""
    most_outputs, most_inputs, taps = shape[0], shape[1], math.prod(shape[2:])
    outputs = min(ranks.outputs, most_outputs, min(ranks.inputs, most_inputs) * taps)
    return Ranks(outputs, min(ranks.inputs, most_inputs, outputs * taps))


def _smallest(most: int, enough: Callable[[int], bool]) -> int:
    """The smallest rank from 1 to `most` that is enough, when every larger one is too; `most` is taken to be."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _partial_tucker(weight: Weight, ranks: Ranks, iterations: int) -> Any:
    """Core and the factors of N and C, by higher-order orthogonal iteration from the HOSVD."""
    return partial_tucker(weight, rank=[ranks.outputs, ranks.inputs], modes=[0, 1], n_iter_max=iterations)


def _candidates(module: fx.GraphModule) -> dict[str, nn.Conv2d]:
    called = {str(node.target) for node in module.graph.nodes if node.op == "call_module"}
    return {
        name: layer
        for name, layer in module.named_modules()
        if name in called and isinstance(layer, nn.Conv2d) and layer.groups == 1 and max(layer.kernel_size) > 1
    }


def _weight(layer: nn.Conv2d) -> Weight:
    weight: Weight = layer.weight.detach().double().numpy()
    return weight


def _saves(module: fx.GraphModule, name: str, ranks: Ranks, sizes: Sizes) -> bool:
    """Whether the three convolutions have fewer multiply-adds than the one."""
    layer = module.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    node = next(n for n in module.graph.nodes if n.op == "call_module" and n.target == name)
    before = np.prod(sizes.shapes[node.all_input_nodes[0].name][1:])
    after = np.prod(sizes.shapes[node.name][1:])
    taps = layer.weight[0, 0].numel()
    one = layer.out_channels * layer.in_channels * taps * after
    three = (
        ranks.inputs * layer.in_channels * before
        + ranks.outputs * ranks.inputs * taps * after
        + layer.out_channels * ranks.outputs * after
    )
    return bool(three < one)


def _aligned(module: fx.GraphModule, name: str, ranks: Ranks, sizes: Sizes, material: Material) -> Ranks:
    """`ranks` rounded up, unless that would save nothing."""
    layer = module.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    wider = Ranks(*(round_up(rank, material.width_multiple) for rank in (ranks.outputs, ranks.inputs)))
    wider = _limited(wider, layer.weight.shape)
    return wider if _saves(module, name, wider, sizes) else ranks


def _decomposed(module: fx.GraphModule, ranks: Mapping[str, Ranks]) -> fx.GraphModule:
    """A copy of `module`, frozen, in which the named convolutions are three."""
    result = copy.deepcopy(module)
    for name, wanted in ranks.items():
        layer = result.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        parts = {f"{name}_{part}": made for part, made in _three(layer, wanted).items()}
        for target, made in parts.items():
            result.add_submodule(target, made)
        for node in [n for n in result.graph.nodes if n.op == "call_module" and n.target == name]:
            _replace(node, list(parts))
    result.delete_all_unused_submodules()
    result.recompile()
    return result.eval().requires_grad_(False)


def _replace(node: fx.Node, targets: Sequence[str]) -> None:
    """Calls of `targets`, one after the other, in place of `node`."""
    value = node.all_input_nodes[0]
    with node.graph.inserting_before(node):
        for target in targets:
            value = node.graph.call_module(target, (value,))
    node.replace_all_uses_with(value)
    node.graph.erase_node(node)


def _three(layer: nn.Conv2d, ranks: Ranks) -> dict[str, nn.Conv2d]:
    """The factors of `layer`; stride, padding and dilation are the core's, the bias is the last one's."""
    (core, (outputs, inputs)), _ = _partial_tucker(_weight(layer), ranks, iterations=100)
    squeeze = nn.Conv2d(layer.in_channels, ranks.inputs, 1, bias=False)
    middle = nn.Conv2d(
        ranks.inputs,
        ranks.outputs,
        layer.kernel_size,  # type: ignore[arg-type]  # a pair by construction, typed as any tuple
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        bias=False,
        padding_mode=layer.padding_mode,
    )
    expand = nn.Conv2d(ranks.outputs, layer.out_channels, 1, bias=layer.bias is not None)
    _fill(squeeze.weight, inputs.T[:, :, None, None])
    _fill(middle.weight, core)
    _fill(expand.weight, outputs[:, :, None, None])
    if expand.bias is not None and layer.bias is not None:
        _fill(expand.bias, layer.bias.detach().numpy())
    return {"squeeze": squeeze, "core": middle, "expand": expand}


def _fill(parameter: Tensor, values: npt.NDArray[np.floating[Any]]) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
