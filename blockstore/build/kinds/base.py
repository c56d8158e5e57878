"""What a kind of variant is: a *reshaping* of a block's operators, or an *encoding* of a finished block.

A variant's recipe is a chain such as `skip:1+prune:0.5+int8`: reshapings in order, then retraining against the original
block, then at most one encoding. A kind that can make nothing of a block raises `Declined` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from torch import Tensor, fx

from blockstore.block import TensorSpec
from blockstore.build.cut import CutBlock
from blockstore.build.export import Forms

Facts = Mapping[str, float | int | str]
"""How a variant was made, for the manifest: `{"filters_before": 64, "filters_after": 32}`."""
Latencies = Callable[[Sequence[fx.GraphModule], TensorSpec], Sequence[float]]
"""Median ms of each of some modules that all take this tensor, measured in turns: they are to be compared."""


class Declined(Exception):
    """There is no such variant of this block; the message is the reason, for the report."""


FAILURES: Final = (Declined, RuntimeError, ValueError, TypeError)
"""What a kind may raise: on purpose, or where torch and the libraries beneath it meet a network that nobody foresaw.

Either way this variant is dropped with the reason, and the others go on.
"""


def reason_of(failure: Exception) -> str:
    """Why there is no variant, in one line."""
    if isinstance(failure, Declined):
        return str(failure)
    first = (str(failure).splitlines() or [""])[0]
    return f"{type(failure).__name__} while it was made: {first}"


@dataclass(frozen=True, slots=True)
class Material:
    """What a kind may look at besides the block itself."""

    batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]
    """Afresh at each call, always the same: input and output of the original block, `[batch, ...]`, on calibration
    images, which are training images. One batch is in memory at a time."""
    score: Callable[[fx.GraphModule], float]
    """Accuracy of the model, 0 to 1, on validation images (training images that nothing is trained on), without their
    labels, when this module stands for the block and all others are original. Raises `Declined` where the task gives
    none without labels."""
    latencies_ms: Latencies
    width_multiple: int
    """What kept widths are rounded to where that measures no slower: engines compute in groups of channels."""
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Reshaped:
    """A block with other operators, not yet retrained."""

    module: fx.GraphModule
    """Frozen (no gradients), evaluation mode, on the CPU; shares no tensor with the module it was made of."""
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A finished block in the forms that engines run."""

    forms: Forms
    facts: Facts = field(default_factory=dict)


@runtime_checkable
class Reshaping(Protocol):
    """Changes the operators of a block; input and output keep their shapes."""

    def reshape(self, block: CutBlock, module: fx.GraphModule, material: Material) -> Reshaped:
        """A new module made of `module`, which is `block` as the reshapings before this one have left it.

        `module` itself stays as it is. Raises `Declined`.
        """
        ...


@runtime_checkable
class Encoding(Protocol):
    """Writes a finished block in another precision."""

    def encode(self, block: CutBlock, module: fx.GraphModule, forms: Forms, material: Material) -> Encoded:
        """`module`, retrained, whose forms in full precision are `forms`, in another precision.

        Raises `Declined`.
        """
        ...


Kind = Reshaping | Encoding
