"""Latency: several modules side by side. That one has a time is among the tests of exports."""

from __future__ import annotations

import pytest
from torch import fx, nn

from blockstore.block import TensorSpec
from blockstore.build.latency import medians_ms
from blockstore.errors import CannotBuild

SPEC = TensorSpec("float32", (3, 5, 5))


def test_every_module_has_a_time() -> None:
    modules = [fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, width, 3))) for width in (1, 8, 64)]
    found = medians_ms(modules, SPEC)
    assert len(found) == 3
    assert all(0 < median < 1000 for median in found)


def test_a_module_without_an_onnx_form_is_refused() -> None:
    odd = fx.symbolic_trace(nn.Sequential(nn.AdaptiveAvgPool2d(2)))
    with pytest.raises(CannotBuild, match="no ONNX form"):
        medians_ms([odd], SPEC)
