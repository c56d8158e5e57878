"""The neck: where a block that ends in a vector learns, and when it does not."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn

from blockstore.block import TensorSpec
from blockstore.build.neck import neck_of, up_to_neck, where_to_learn, with_front
from tests.blockstore.build.kinds.reshaping import scaled, whole

SPEC = TensorSpec("float32", (4, 6, 6))


def block(width: int = 8, inner: int = 6) -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.symbolic_trace(
        nn.Sequential(
            nn.Conv2d(4, inner, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(inner, width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 5),
        )
    )


def test_the_neck_is_the_last_tensor_with_height_and_width() -> None:
    module, frame = block(), torch.randn(2, *SPEC.shape)
    up_to = up_to_neck(module, SPEC)
    assert up_to is not None
    assert up_to(frame).shape == (2, 8, 6, 6)
    layers = dict(module.named_children())
    assert torch.equal(layers["6"](up_to(frame).mean((2, 3))), module(frame))


def test_both_are_of_the_same_layers() -> None:
    module = block()
    up_to = up_to_neck(module, SPEC)
    assert up_to is not None
    assert {id(p) for p in up_to.parameters()} < {id(p) for p in module.parameters()}


def test_a_block_that_ends_in_a_map_has_none() -> None:
    assert neck_of(fx.symbolic_trace(nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())), SPEC) is None
    assert neck_of(fx.symbolic_trace(nn.Sequential()), SPEC) is None


def test_a_variant_with_fewer_inner_filters_learns_at_the_neck() -> None:
    original, variant = block(), block()
    variant.load_state_dict(original.state_dict())
    narrow = block(inner=3)
    narrow.get_submodule("6").load_state_dict(original.get_submodule("6").state_dict())
    assert where_to_learn(variant, original, SPEC) is not None
    assert where_to_learn(narrow, original, SPEC) is not None


def test_a_variant_with_another_neck_or_another_rest_learns_at_its_output() -> None:
    original, other = block(), copy.deepcopy(block())
    with torch.no_grad():
        next(other.get_submodule("6").parameters()).add_(1)
    assert where_to_learn(block(width=4), original, SPEC) is None
    assert where_to_learn(other, original, SPEC) is None


def test_a_variant_with_nothing_to_learn_before_its_neck_learns_at_its_output() -> None:
    bare = fx.symbolic_trace(nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)))
    assert up_to_neck(bare, SPEC) is not None
    assert where_to_learn(bare, bare, SPEC) is None


def test_constants_of_the_network_stay_on_their_side_of_the_neck() -> None:
    bench = whole(scaled)
    module, spec = bench.block.module, bench.block.input
    up_to = where_to_learn(copy.deepcopy(module), module, spec)
    assert up_to is not None
    inputs, _ = next(bench.material.batches())
    assert up_to(inputs).shape == (8, 8, 12, 12)
    assert {name.rpartition(".")[2] for name, _ in up_to.named_parameters()} >= {"scale", "position"}


def test_a_front_of_other_widths_takes_its_place_before_the_rest() -> None:
    module, narrow, frame = block(), block(inner=3), torch.randn(2, *SPEC.shape)
    front = up_to_neck(narrow, SPEC)
    assert front is not None
    joined = with_front(module, front)
    last = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    assert torch.equal(joined(frame), last["6"](front(frame).mean((2, 3))))
    with torch.no_grad():
        joined.get_parameter("6.weight").zero_()
    assert module.get_parameter("6.weight").any()
    assert not joined.training
