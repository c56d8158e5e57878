"""Heads: their shapes for every kind of output, and aggregation worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from blockstore.block import TensorSpec
from blockstore.build.exits.heads import SMALL, Design, Head, broad, given
from blockstore.errors import CannotBuild

CLASSES = TensorSpec("float32", (5,))
LARGE, SMALL_MAP = TensorSpec("float32", (3, 12, 12)), TensorSpec("float32", (6, 4, 4))
VECTOR = TensorSpec("float32", (7,))


def example(spec: TensorSpec, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, *spec.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "spec", [LARGE, SMALL_MAP, VECTOR, TensorSpec("float32", (4, 6)), TensorSpec("float32", (2, 9, 7))]
)
@pytest.mark.parametrize("output", [CLASSES, TensorSpec("float32", (3, 4))])
@pytest.mark.parametrize("design", [given, lambda spec: broad(spec, "average"), lambda spec: broad(spec, "maximum")])
def test_a_head_gives_what_the_network_gives(spec: TensorSpec, output: TensorSpec, design: object) -> None:
    assert callable(design)
    head = Head(design(spec), (spec,), output).eval()
    assert head(example(spec)).shape == (2, *output.shape)


def test_branches_are_as_the_paper_gives_them() -> None:
    assert LARGE.shape[1] > SMALL >= SMALL_MAP.shape[1]
    assert len(given(LARGE).filters) == 2
    assert len(given(SMALL_MAP).filters) == 1


def test_a_vector_has_no_filters_to_prune() -> None:
    assert given(VECTOR).filters == broad(VECTOR, "average").filters == ()
    head = Head(given(VECTOR), (VECTOR,), CLASSES)
    assert [name for name, _ in head.named_parameters()] == ["linear.weight", "linear.bias"]


def test_pruned_heads_take_maps_of_any_size() -> None:
    head = Head(broad(LARGE, "average"), (LARGE,), CLASSES).eval()
    assert head(torch.zeros(2, 3, 20, 16)).shape == (2, 5)


def aggregating(earlier: tuple[int, ...], own: tuple[int, ...]) -> Head:
    specs = TensorSpec("float32", earlier), TensorSpec("float32", own)
    torch.manual_seed(0)
    return Head(Design((), "average", strided=True, aggregates=True), specs, CLASSES).eval()


@pytest.mark.parametrize(
    ("earlier", "own"),
    [((2, 8, 8), (3, 4, 4)), ((2, 4, 4), (3, 4, 4)), ((2, 7, 9), (3, 3, 4)), ((2, 12, 5), (3, 5, 5))],
    ids=["half", "same size", "sizes that do not divide", "one side alone"],
)
def test_aggregation_is_max_pool_concatenate_and_compress(earlier: tuple[int, ...], own: tuple[int, ...]) -> None:
    head = aggregating(earlier, own)
    assert head.aggregate is not None
    before, here = example(TensorSpec("float32", earlier)), example(TensorSpec("float32", own)) + 1
    steps = [e // o for e, o in zip(earlier[1:], own[1:], strict=True)]
    windows = [e - (o - 1) * step for e, o, step in zip(earlier[1:], own[1:], steps, strict=True)]
    joined = torch.empty(2, earlier[0] + own[0], *own[1:])
    for i in range(own[1]):
        for j in range(own[2]):
            top, left = i * steps[0], j * steps[1]
            joined[:, : earlier[0], i, j] = before[:, :, top : top + windows[0], left : left + windows[1]].amax((2, 3))
    joined[:, earlier[0] :] = here
    weight, bias = head.aggregate.compress.weight, head.aggregate.compress.bias
    assert bias is not None
    compressed = torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], joined) + bias[None, :, None, None]
    features = functional.relu(compressed)
    assert torch.allclose(head.aggregate(before, here), features, atol=1e-6)
    assert torch.allclose(head(before, here), head.linear(features.mean((2, 3))), atol=1e-6)
    # The windows meet every pixel: none of the earlier features is lost.
    assert all(
        (o - 1) * step + window == e for e, o, step, window in zip(earlier[1:], own[1:], steps, windows, strict=True)
    )


@pytest.mark.parametrize(("earlier", "own"), [((2, 4, 4), (3, 8, 8)), ((2,), (3, 4, 4)), ((2, 4, 4), (3,))])
def test_features_that_cannot_be_pooled_are_refused(earlier: tuple[int, ...], own: tuple[int, ...]) -> None:
    with pytest.raises(CannotBuild, match="aggregation takes maps that do not grow"):
        aggregating(earlier, own)


def test_a_head_with_another_number_of_inputs_is_refused() -> None:
    with pytest.raises(CannotBuild, match="a head that stands alone has 2 inputs"):
        Head(given(LARGE), (LARGE, LARGE), CLASSES)
