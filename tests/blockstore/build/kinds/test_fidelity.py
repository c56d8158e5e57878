"""Fidelity: 0 for a copy, 1 for the mean, refused where it is not a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blockstore.build.kinds.base import Declined, Material
from blockstore.build.kinds.fidelity import encoding_error
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.encoded import bench


def against(expected: list[Tensor]) -> tuple[bytes, Material]:
    """A block and material whose original output is said to be `expected`, batch by batch."""
    tested = bench(networks.plain)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for (inputs, _), output in zip(tested.material.batches(), expected, strict=True):
            yield inputs, output

    return tested.forms.onnx, replace(tested.material, batches=batches)


def outputs() -> list[Tensor]:
    return [output for _, output in bench(networks.plain).material.batches()]


def test_a_copy_has_hardly_an_error() -> None:
    assert encoding_error(*against(outputs())) < 1e-9


def test_it_is_the_squared_error_over_the_variance_of_all_batches() -> None:
    noise = torch.Generator().manual_seed(1)
    originals = [2 * output + torch.randn(output.shape, generator=noise) for output in outputs()]
    got, expected = torch.cat(outputs()), torch.cat(originals)
    error = float(((got - expected) ** 2).mean() / expected.var(correction=0))
    assert encoding_error(*against(originals)) == pytest.approx(error, rel=0.01)


def test_a_constant_original_does_not_divide_by_zero() -> None:
    constants = [torch.zeros_like(output) for output in outputs()]
    squares = float(torch.cat(outputs()).square().mean())
    assert encoding_error(*against(constants)) == pytest.approx(squares, rel=0.01)


def test_not_a_number_is_declined() -> None:
    with pytest.raises(Declined, match="not a number"):
        encoding_error(*against([output * float("nan") for output in outputs()]))
