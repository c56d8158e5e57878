"""A taught head becomes what engines run: one graph with its confidence, in both forms, checked against each other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
import torch_pruning as tp
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from blockstore import torchform
from blockstore.block import TensorSpec
from blockstore.build.exits.confidence import Confidence
from blockstore.build.exits.heads import Design, Head
from blockstore.build.export import TOLERANCE, Forms, session, to_onnx
from blockstore.build.trace import example
from blockstore.errors import CannotBuild, UnsupportedOperator

_ROUNDING: Final = 1e-5
"""By which a confidence may be outside 0 to 1."""
OUTPUTS: Final = ("output", "confidence")
"""What a head gives: what the network would give, and how sure it is of it."""


class _Alone(nn.Module):
    """`[batch, ...]` features to `([batch, *output], [batch])`.

    The output is as the head gives it; the temperature only makes the confidence.
    """

    def __init__(self, head: Head, confidence: Confidence, temperature: float) -> None:
        super().__init__()
        self.head = head
        self.confidence = confidence
        self.temperature = temperature

    def forward(self, own: Tensor) -> tuple[Tensor, Tensor]:
        output = self.head(own)
        return output, self.confidence(output / self.temperature)


class _Aggregating(_Alone):
    """The same of a head that takes the features of the exit before it as well."""

    def forward(self, earlier: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # one input more
        output = self.head(earlier, own)
        return output, self.confidence(output / self.temperature)


def head_forms(
    head: Head,
    specs: Sequence[TensorSpec],
    confidence: Confidence,
    temperature: float,
    samples: Sequence[Tensor],
) -> Forms:
    """Both forms of `head`, which takes `specs`; they are compared on `samples`, `[batch, ...]` of each.

    Raises `CannotBuild` where the head, or a confidence of the user's own, cannot be written or is not `[batch]`.
    """
    graph = _graph(head, confidence, temperature)
    with torch.no_grad():
        output, sure = graph(*samples)
    _check_confidence(sure, len(samples[-1]))
    written = torchform.save(graph)
    canonical = torchform.load(written)
    onnx = to_onnx(canonical, specs, OUTPUTS)
    got = session(onnx, threads=1)
    names = [node.name for node in got.get_inputs()]
    found = got.run(list(OUTPUTS), {n: s.numpy() for n, s in zip(names, samples, strict=True)})
    for name, ours, theirs in zip(OUTPUTS, (output, sure), found, strict=True):
        scale = max(float(ours.abs().max()), 1e-6)
        difference = float(np.abs(theirs - ours.numpy()).max() / scale)
        # Not a number is no agreement either.
        if not difference <= TOLERANCE:
            raise CannotBuild(f"the ONNX form of an exit differs by {difference:.2g} in {name}, allowed is {TOLERANCE}")
    parameters = sum(p.numel() for p in canonical.parameters())
    return Forms(onnx, written, parameters, multiply_adds(head, specs))


def check_confidence(confidence: Confidence, output: TensorSpec) -> None:
    """Refuse, before any head has learnt, a confidence of `[batch, *output]` that no head could have; `CannotBuild`."""
    features = TensorSpec("float32", (16,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = Head(Design((), "average", strided=True), (features,), output)
        try:
            head_forms(head, (features,), confidence, 1.0, (example(features, batch=8),))
        except UnsupportedOperator as error:
            raise CannotBuild(
                f"the confidence is made of operators that a torch form does not know: {error}"
            ) from error


def _check_confidence(sure: Tensor, frames: int) -> None:
    if not isinstance(sure, Tensor) or sure.shape != (frames,):
        found = list(sure.shape) if isinstance(sure, Tensor) else type(sure).__name__
        raise CannotBuild(f"the confidence of {frames} frames is {found}: give one number a frame, [batch]")
    wrong = sure[(sure < -_ROUNDING) | (sure > 1 + _ROUNDING)]
    if len(wrong):
        raise CannotBuild(f"the confidence of a frame is {float(wrong[0]):.4g}: it must be 0 to 1")


def multiply_adds(head: Head, specs: Sequence[TensorSpec]) -> int:
    """For one frame."""
    counted, _ = tp.utils.count_ops_and_params(copy.deepcopy(head).eval(), tuple(example(s, batch=1) for s in specs))
    return int(counted)


def _graph(head: Head, confidence: Confidence, temperature: float) -> fx.GraphModule:
    """The head with its confidence, batch normalisation folded away."""
    wrapper = _Aggregating if head.design.aggregates else _Alone
    whole = wrapper(copy.deepcopy(head).eval().requires_grad_(False), confidence, temperature)
    try:
        traced = fx.symbolic_trace(whole)
    # A confidence of the user's own raises whatever it likes when it is given proxies in place of tensors.
    except Exception as error:
        raise CannotBuild(f"torch.fx cannot trace an exit: {type(error).__name__}: {error}") from error
    folded = fuse(traced, no_trace=True)
    assert isinstance(folded, fx.GraphModule)
    return folded
