"""Masking: masks zero the lowest scores, learn which filters matter, and give up the others."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from blockstore.build.kinds import masking
from blockstore.build.kinds.base import Declined
from blockstore.build.kinds.filters import without
from blockstore.build.kinds.masking import Choice, MaskingBlock, Schedule, insert_masks, masked_shares, prune_once
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.reshaping import Bench, block_of, parameters, whole

QUICK = Schedule(mask_epochs=20, joint_epochs=2, mask_rate=0.1, joint_rate=0.01)


def half_idle() -> Bench:
    """A block of which filters 0, 2, 5 and 7 are all that the output depends on."""
    torch.manual_seed(1)
    first, last = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
    with torch.no_grad():
        last.weight[:, [1, 3, 4, 6]] = 0
    return block_of(nn.Sequential(first, nn.ReLU(), last))


def normalised() -> Bench:
    """Batch normalisation that is not folded away, with statistics and weights that are not the initial ones."""
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(8)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5), norm.bias.uniform_(-0.5, 0.5), norm.running_mean.uniform_(-0.5, 0.5)
    return block_of(nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)))


def error(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output, target) / target.var()


def test_as_many_filters_as_asked_for_are_zeroed_in_every_image() -> None:
    mask = MaskingBlock(8, 3)(torch.randn(5, 8, 4, 4))
    assert mask.shape == (5, 8, 1, 1)
    assert (mask == 0).sum((1, 2, 3)).tolist() == [3] * 5
    assert (mask == 1).sum((1, 2, 3)).tolist() == [5] * 5


@pytest.mark.parametrize(("share", "threshold"), [(0.99, 0.995), (0.7, 0.8), (0.5, 0.6)])
def test_one_filter_at_least_stays(share: float, threshold: float) -> None:
    """Of 3 filters all would be zeroed by the share, or each in more images than the threshold says by rounding."""
    bench = block_of(nn.Sequential(nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1)))
    quick = Schedule(mask_epochs=1, joint_epochs=0)
    choice = Choice(share, threshold)
    pruned = prune_once(bench.block.module, bench.block.input, bench.material.batches, error, choice, quick, 0)
    assert 1 <= pruned.filters_after < 3


def test_masks_have_gradients_though_they_are_zeros_and_ones() -> None:
    block = MaskingBlock(8, 3)
    (block(torch.randn(5, 8, 4, 4)) * torch.randn(5, 8, 1, 1)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.score.parameters())


@pytest.mark.parametrize(
    "make",
    [lambda: whole(networks.residual), lambda: whole(networks.plain), lambda: whole(networks.depthwise), normalised],
)
def test_a_masked_filter_is_as_good_as_removed(make: Callable[[], Bench]) -> None:
    bench = make()
    masked = insert_masks(bench.block.module, bench.block.input, 0.5, seed=0)
    image = next(bench.material.batches())[0][:1]
    shares = masked_shares(masked, [(image, image)])
    doomed = {g.root: torch.nonzero(s).flatten().tolist() for g, s in zip(masked.groups, shares, strict=True)}
    assert all(len(doomed[g.root]) == g.filters // 2 for g in masked.groups)
    removed = without(masked.plain, bench.block.input, doomed)
    assert torch.allclose(masked.module(image), removed(image), atol=1e-6)
    assert not torch.allclose(masked.module(image), masked.plain(image), atol=1e-4)


def test_masks_look_behind_normalisation_and_activation() -> None:
    bench = normalised()
    masked = insert_masks(bench.block.module, bench.block.input, 0.5, seed=0)
    (mask,) = (node for node in masked.module.graph.nodes if node.target == "mask0")
    assert isinstance(masked.module.get_submodule(str(mask.args[0].target)), nn.ReLU)


@pytest.mark.parametrize("make", [half_idle, normalised])
def test_the_network_itself_stays_as_it_is(make: Callable[[], Bench]) -> None:
    bench = make()
    before = copy.deepcopy(bench.block.module.state_dict())
    prune_once(bench.block.module, bench.block.input, bench.material.batches, error, Choice(0.5, 0.9), QUICK, 0)
    after = bench.block.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_normalisation_is_trained_with_the_filters_and_counts_no_more_afterwards() -> None:
    bench = normalised()
    masked = insert_masks(bench.block.module, bench.block.input, 0.25, seed=0)
    (norm,) = (layer for layer in masked.plain.modules() if isinstance(layer, nn.BatchNorm2d))
    masking.train_masks(masked, bench.material.batches, error, Schedule(mask_epochs=1, joint_epochs=1))
    steps = 2 * len(list(bench.material.batches()))
    assert norm.num_batches_tracked == steps
    masked_shares(masked, bench.material.batches())
    assert norm.num_batches_tracked == steps


def test_masks_learn_which_filters_the_output_does_not_need() -> None:
    bench = half_idle()
    pruned = prune_once(
        bench.block.module, bench.block.input, bench.material.batches, error, Choice(0.5, 0.9), QUICK, 0
    )
    assert (pruned.filters_before, pruned.filters_after) == (8, 4)
    assert bench.error(pruned.module) < 1e-6


def test_labels_may_take_the_place_of_a_teacher() -> None:
    bench = whole(networks.plain)
    labelled = [(x, y.argmax(1)) for x, y in bench.material.batches()]
    pruned = prune_once(
        bench.block.module,
        bench.block.input,
        lambda: labelled,
        functional.cross_entropy,
        Choice(0.25, 0.9),
        Schedule(mask_epochs=2, joint_epochs=1),
        0,
    )
    assert pruned.filters_after < pruned.filters_before
    assert parameters(pruned.module) < parameters(bench.block.module)
    assert pruned.module(labelled[0][0]).shape == (8, 4)


def test_shares_count_the_images_in_which_a_filter_is_zeroed() -> None:
    bench = half_idle()
    masked = insert_masks(bench.block.module, bench.block.input, 0.25, seed=0)
    (share,) = masked_shares(masked, bench.material.batches())
    assert share.sum() == pytest.approx(2)
    assert share.max() <= 1


def test_the_same_seed_gives_the_same_network_whatever_was_drawn_before() -> None:
    bench = half_idle()
    weights = []
    for before in (1, 2):
        torch.manual_seed(before)
        pruned = prune_once(
            bench.block.module, bench.block.input, bench.material.batches, error, Choice(0.5, 0.9), QUICK, 7
        )
        weights.append(torch.cat([p.flatten() for p in pruned.module.parameters()]))
    assert torch.equal(*weights)


def test_a_loss_that_is_no_number_is_a_reason() -> None:
    bench = half_idle()
    with pytest.raises(Declined, match=r"the loss became nan at a learning rate of 0\.1: lower it"):
        prune_once(
            bench.block.module,
            bench.block.input,
            bench.material.batches,
            lambda output, _: output.sum() * float("nan"),
            Choice(0.5, 0.9),
            QUICK,
            0,
        )


def test_without_inner_convolutions_there_is_nothing_to_mask() -> None:
    bench = block_of(nn.Conv2d(4, 8, 3))
    with pytest.raises(Declined, match="no inner filters to mask"):
        masking.insert_masks(bench.block.module, bench.block.input, 0.5, seed=0)
