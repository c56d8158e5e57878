"""Masking: D-Pruner's mechanics on any graph, one block or a whole network (Huynh, PhD thesis 2019, chapter 4).

Masking blocks are put behind convolutions; each looks at an image's channels and zeroes the few that it scores lowest.
They are trained alone, then with the network, by whatever loss; filters that are zeroed for nearly all images are
removed for good. `prune_once` is one turn of the loop in Algorithm 2 without its last step, the fine-tuning of what is
left, which `fit` does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from blockstore.block import TensorSpec
from blockstore.build.kinds.base import Declined
from blockstore.build.kinds.filters import FilterGroup, inner_groups, without

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Inputs and targets, afresh at each call; targets are whatever the loss compares outputs with."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""(output, target) -> one number."""
_ACTIVATIONS: Final = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.Hardswish, nn.SiLU, nn.GELU)
_ACTIVATION_FUNCTIONS: Final = (
    torch.relu,
    functional.relu,
    functional.relu6,
    functional.hardswish,
    functional.silu,
    "relu",
)
_REDUCTION: Final = 16
"""A masking block's first dense layer has a 16th of the filters, as in squeeze-and-excitation (Hu et al. 2018)."""
_LEAST_HIDDEN: Final = 8
"""But no fewer: a single unit that happens never to fire would make the masks the same for all images."""


Optimiser = Callable[[Sequence[Tensor], float], torch.optim.Optimizer]
"""(parameters, learning rate) -> what steps them."""


def nesterov(parameters: Sequence[Tensor], rate: float) -> torch.optim.Optimizer:
    """The thesis' optimiser (4.4.1); its decay of a millionth a step is left out, it changes 35 epochs by 1%."""
    return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True)


def adam(parameters: Sequence[Tensor], rate: float) -> torch.optim.Optimizer:
    """Adam does not see the scale of a loss: masks and weights of any block are trained by one rate each."""
    return torch.optim.Adam(parameters, rate)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How masks are trained; the thesis (4.4.1) takes 35 epochs in all, at a rate of 0.01."""

    mask_epochs: int
    """Epochs in which only the masking blocks are trained."""
    joint_epochs: int
    """Epochs after those in which everything is."""
    mask_rate: float = 0.01
    joint_rate: float = 0.01
    optimiser: Optimiser = nesterov


@dataclass(frozen=True, slots=True)
class Choice:
    """Which filters are given up."""

    share: float
    """Of the filters of a group, zeroed for every image (the thesis' K)."""
    threshold: float
    """A filter goes that is zeroed for more than this share of the images (T)."""


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """A network with masking blocks, and the same layers without."""

    module: fx.GraphModule
    plain: fx.GraphModule
    """Shares its layers with `module`, so that it is trained too."""
    groups: tuple[FilterGroup, ...]
    blocks: tuple[MaskingBlock, ...]
    """One for each group."""


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """What one turn leaves: weights as the joint training left them."""

    module: fx.GraphModule
    """Frozen, on the CPU."""
    filters_before: int
    filters_after: int
    most_masked: float
    """The largest share of the images for which any filter was zeroed."""


class MaskingBlock(nn.Module):
    """Average pooling, two dense layers and a softmax score filters; the lowest are zeroed (thesis, figure 4.2).

    `[batch, filters, h, w]` to masks of zeros and ones, `[batch, filters, 1, 1]`.
    """

    def __init__(self, filters: int, zeroed: int) -> None:
        super().__init__()
        hidden = max(_LEAST_HIDDEN, filters // _REDUCTION)
        self.zeroed = zeroed
        self.squeeze = nn.Linear(filters, hidden)
        self.score = nn.Linear(hidden, filters)
        # Nearly equal scores at first: training is to order the filters, not the draw.
        nn.init.normal_(self.score.weight, std=1e-3)
        nn.init.zeros_(self.score.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The masks of a batch."""
        scores = self.score(torch.relu(self.squeeze(x.mean((2, 3))))).log_softmax(1)
        lowest = scores.detach().argsort(dim=1, stable=True)[:, : self.zeroed]
        mask = torch.ones_like(scores).scatter(1, lowest, 0.0)
        # Zeros and ones have no gradient and the thesis names none. Straight through (Bengio et al. 2013): backwards
        # the mask is the logarithm of the score. It orders filters alike, and low scores still have a gradient.
        masks: Tensor = mask + (scores - scores.detach())
        return masks[:, :, None, None]


def prune_once(
    module: fx.GraphModule,
    spec: TensorSpec,
    batches: Batches,
    loss: Loss,
    choice: Choice,
    schedule: Schedule,
    seed: int,
    device: str = "cpu",
) -> Pruned:
    """`module`, which takes `spec`, without the filters that trained masks give up; `module` stays as it is.

    `batches` are on `device`. Raises `Declined` where there is nothing to mask, where the loss becomes infinite or no
    number, or where what is left does not run.
    """
    masked = insert_masks(module, spec, choice.share, seed)
    masked.module.to(device)
    train_masks(masked, batches, loss, schedule)
    shares = masked_shares(masked, batches())
    masked.module.to("cpu")
    doomed = {
        # The least masked ones stay even where all are masked too often.
        group.root: torch.nonzero(share > max(choice.threshold, float(share.min()))).flatten().tolist()
        for group, share in zip(masked.groups, shares, strict=True)
    }
    filters = sum(group.filters for group in masked.groups)
    return Pruned(
        without(masked.plain, spec, doomed),
        filters,
        filters - sum(map(len, doomed.values())),
        max(float(share.max()) for share in shares),
    )


def insert_masks(module: fx.GraphModule, spec: TensorSpec, share: float, seed: int) -> Masked:
    """A copy of `module` in which every inner group of convolution filters is masked.

    The block stands behind the group's first convolution and its activation, and its mask is multiplied with all that
    is read of the group, so that a masked filter is as good as removed. At least one filter of a group is zeroed.
    Raises `Declined` where there is no such group.
    """
    plain = copy.deepcopy(module).requires_grad_(False)
    layers = dict(plain.named_modules())
    groups = tuple(
        group for group in inner_groups(module, spec) if group.filters > 1 and isinstance(layers[group.root], nn.Conv2d)
    )
    if not groups:
        raise Declined("no inner filters to mask: every convolution reaches the block's input or output")
    masked = fx.GraphModule(plain, copy.deepcopy(plain.graph))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blocks = tuple(MaskingBlock(g.filters, _zeroed(g.filters, share)) for g in groups)
    for position, (group, block) in enumerate(zip(groups, blocks, strict=True)):
        masked.add_submodule(f"mask{position}", block)
        _mask(masked.graph, f"mask{position}", group, layers)
    masked.recompile()
    return Masked(masked, plain, groups, blocks)


def _zeroed(filters: int, share: float) -> int:
    """How many of `filters` are zeroed, at least one, and not all: their images would be lost."""
    return min(filters - 1, max(1, round(share * filters)))


def train_masks(masked: Masked, batches: Batches, loss: Loss, schedule: Schedule) -> None:
    """The masking blocks alone, then everything (thesis, section 4.3.2, first step)."""
    masks = [p for block in masked.blocks for p in block.parameters()]
    optimiser = schedule.optimiser(masks, schedule.mask_rate)
    fit(masked.module, optimiser, batches, loss, schedule.mask_epochs)
    masked.plain.requires_grad_(True)
    optimiser = schedule.optimiser([*masks, *masked.plain.parameters()], schedule.joint_rate)
    fit(masked.module, optimiser, batches, loss, schedule.joint_epochs)
    masked.module.requires_grad_(False)


def fit(module: nn.Module, optimiser: torch.optim.Optimizer, batches: Batches, loss: Loss, epochs: int) -> None:
    """Train for `epochs` epochs; `optimiser` holds the parameters of `module` that are trained.

    Batch normalisation, where a network of one's own has kept it, counts and normalises by the batch meanwhile;
    `module` is left in evaluation mode.
    Raises `Declined` where the loss becomes infinite or no number.
    """
    module.train()
    for _ in range(epochs):
        for inputs, target in batches():
            optimiser.zero_grad(set_to_none=True)
            value = loss(module(inputs), target)
            if not math.isfinite(float(value.detach())):
                rate = optimiser.param_groups[0]["lr"]
                raise Declined(f"the loss became {float(value.detach())} at a learning rate of {rate}: lower it")
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
    module.eval()


def masked_shares(masked: Masked, batches: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """For each group, `[filters]` on the CPU: the share of the images for which a filter is zeroed."""
    counts = [torch.zeros(group.filters, dtype=torch.float64) for group in masked.groups]
    images = 0

    def look(position: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], mask: Tensor) -> None:
            counts[position] += (mask < 0.5).sum((0, 2, 3)).cpu()

        return hook

    handles = [block.register_forward_hook(look(position)) for position, block in enumerate(masked.blocks)]
    with torch.no_grad():
        for inputs, _ in batches:
            masked.module(inputs)
            images += len(inputs)
    for handle in handles:
        handle.remove()
    return [count / max(images, 1) for count in counts]


def _mask(graph: fx.Graph, target: str, group: FilterGroup, layers: Mapping[str, nn.Module]) -> None:
    """Multiply the channels of `group` with the mask of the module `target`, which looks at the first of its layers.

    Behind the activation: a ReLU has no gradient at zero, and a masked filter would never be missed.
    """
    calls = [node for node in graph.nodes if node.op == "call_module"]
    made = list(dict.fromkeys(_activated(node, layers) for node in calls if node.target in group.makers))
    with graph.inserting_after(made[0]):
        mask = graph.call_module(target, (made[0],))
    whole = all(reader.inputs == tuple(range(group.filters)) for reader in group.readers)
    if whole and all(isinstance(layers[reader.layer], nn.Conv2d) for reader in group.readers):
        # Once on every path: what an outer mask zeroes hides from an inner one what it is good for.
        names = {reader.layer for reader in group.readers}
        for source in dict.fromkeys(node.all_input_nodes[0] for node in calls if node.target in names):
            _multiply(source, mask, [user for user in source.users if user.target in names])
    else:
        for source in made:
            _multiply(source, mask, [user for user in source.users if user is not mask])


def _multiply(source: fx.Node, mask: fx.Node, users: Sequence[fx.Node]) -> None:
    """Let `users` of `source` have its product with `mask`, which may come later in the graph than `source`."""
    first = next(node for node in source.graph.nodes if node in users)
    with source.graph.inserting_before(first):
        product = source.graph.call_function(torch.mul, (source, mask))
    for user in users:
        user.replace_input_with(source, product)


def _activated(node: fx.Node, layers: Mapping[str, nn.Module]) -> fx.Node:
    """The activation that alone reads `node`, or `node`; either behind a normalisation that alone reads `node`."""
    while isinstance(layer := _only_reader(node, layers), nn.BatchNorm2d):
        (node,) = node.users
    if isinstance(layer, _ACTIVATIONS) or layer in _ACTIVATION_FUNCTIONS:
        (node,) = node.users
    return node


def _only_reader(node: fx.Node, layers: Mapping[str, nn.Module]) -> object:
    """The layer, function or name of a method that alone reads `node`; None where there are several."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    return layers[str(user.target)] if user.op == "call_module" else user.target
