"""FP16 where it costs little: layers chosen by DeepSense's Algorithm 1, `fp16-greedy:LOSS`.

LOSS is the accuracy that may be lost on validation images, as a fraction: 0.01 is one point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import fx

from blockstore.build.cut import CutBlock
from blockstore.build.export import Forms
from blockstore.build.kinds import arguments as given
from blockstore.build.kinds import half
from blockstore.build.kinds.base import Declined, Encoded, Encoding, Material


def parse(arguments: Sequence[str]) -> Encoding:
    """The kind of `LOSS`; raises `CannotBuild`."""
    given.check_count(arguments, 1, 1, "fp16-greedy:LOSS")
    return Fp16Greedy(given.share(arguments[0], "the loss of accuracy that is allowed"))


@dataclass(frozen=True, slots=True)
class Fp16Greedy:
    """Stores as many layers in FP16 as a loss of accuracy below `loss` allows."""

    loss: float

    def encode(self, block: CutBlock, module: fx.GraphModule, forms: Forms, material: Material) -> Encoded:
        """`module` with the chosen layers in FP16, all of them where they may.

        Raises `Declined` where no layer may be converted, and as `half.encode` and `material.score` do.
        """
        layers = half.layers_of(module)

        def accuracy(converted: Sequence[str]) -> float:
            return material.score(half.rounded(module, converted))

        before = accuracy(())
        chosen, lost = layers, before - accuracy(layers)
        # Two scores settle the usual case; the search is for the others.
        if lost >= self.loss:
            chosen, lost = choose(layers, accuracy, before, self.loss)
        if not chosen:
            raise Declined(f"no one of its {len(layers)} layers converts for a loss of accuracy below {self.loss:g}")
        return half.encode(block, module, chosen, forms, material, {"accuracy_lost": round(lost, 5)})


def choose(
    layers: Sequence[str], accuracy: Callable[[Sequence[str]], float], before: float, allowed: float
) -> tuple[tuple[str, ...], float]:
    """Layers to convert, in the order of their choice, and the accuracy that is lost by them.

    Algorithm 1 of DeepSense: while the allowed loss lasts, convert the layer whose conversion loses the least, and
    subtract its loss. `accuracy` is that of the network with these layers converted, `before` with none. A loss is
    counted from the network as converted so far, so that the losses add up to the whole; the paper's loop has no end
    where no layer fits, this one ends. Of equals the first layer goes. At most n(n + 1) / 2 scores for n layers.
    """
    chosen: tuple[str, ...] = ()
    reached = before
    while rest := [layer for layer in layers if layer not in chosen]:
        scores = {layer: accuracy((*chosen, layer)) for layer in rest}
        best = max(rest, key=lambda layer: scores[layer])
        if before - scores[best] >= allowed:
            break
        chosen, reached = (*chosen, best), scores[best]
    return chosen, before - reached
