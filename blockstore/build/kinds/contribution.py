"""What a filter contributes to the layers that read it, measured on images and without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from blockstore.build.kinds.filters import FilterGroup, Reader


def contributions(
    module: fx.GraphModule, groups: Sequence[FilterGroup], batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """By the root of each group, `[filters]`: mean squared contribution of each filter to its readers' outputs.

    A reader computes y = bias + sum over filters f of W_f * x_f. Filter f scores E|W_f * x_f|^2 / E|y|^2, the mean over
    images and places, summed over the outputs of the reader and over readers. This is the error that ThiNet (Luo et al.
    2017, equation 6) minimises, of one filter at a time: what the next layer's output changes by when f goes.
    """
    measured = {group.root: [_Measured(module, reader, group.filters) for reader in group.readers] for group in groups}
    with ExitStack() as stack, torch.no_grad():
        for one in [m for row in measured.values() for m in row]:
            stack.enter_context(_hooked(one.layer, one.look))
        for inputs, _ in batches:
            module(inputs)
    return {
        group.root: sum((m.shares() for m in measured[group.root]), torch.zeros(group.filters, dtype=torch.float64))
        for group in groups
    }


class _Measured:
    """Second moments of one reader's input, filter by filter, and of its output."""

    def __init__(self, module: fx.GraphModule, reader: Reader, filters: int) -> None:
        self.layer = module.get_submodule(reader.layer)
        by_filter = sorted(zip(reader.filters, reader.inputs, strict=True))
        # Row f holds the inputs of filter f.
        self._rows = torch.tensor([position for _, position in by_filter]).view(filters, -1)
        self._moments: Tensor | None = None
        self._power = torch.zeros((), dtype=torch.float64)

    def look(self, inputs: Tensor, output: Tensor) -> None:
        for image, result in zip(inputs, output, strict=True):
            taps = self._taps(image)
            moments = torch.bmm(taps, taps.transpose(1, 2)).double()
            self._moments = moments if self._moments is None else self._moments + moments
            self._power += result.double().square().sum()

    def shares(self) -> Tensor:
        """`[filters]`: E|W_f * x_f|^2 / E|y|^2."""
        assert self._moments is not None
        weight = self.layer.weight
        assert isinstance(weight, Tensor)
        taps = weight.double().flatten(2) if weight.dim() > 2 else weight.double().unsqueeze(2)
        own = taps[:, self._rows].flatten(2)
        return torch.einsum("ofa,fab,ofb->f", own, self._moments, own) / self._power.clamp(min=1e-30)

    def _taps(self, image: Tensor) -> Tensor:
        """`[filters, taps, places]`: every value that a weight of the reader is multiplied with."""
        if not isinstance(self.layer, nn.Conv2d):
            return image.reshape(-1, image.shape[-1]).T[self._rows]
        layer = self.layer
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = functional.pad(image[None], layer._reversed_padding_repeated_twice, mode)
        columns = functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
        return columns.view(image.shape[0], -1, columns.shape[-1])[self._rows].flatten(1, 2)


@contextmanager
def _hooked(layer: nn.Module, look: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        look(inputs[0], output)

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
