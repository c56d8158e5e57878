"""How sure an exit is: a number from 0 to 1 made of its logits, in the graph of the head itself.

The daemon reads a number; it runs no code of a user's, and both engines agree on it. What is no number (a head that
overflowed) compares with no threshold: such a frame goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from blockstore.build.tasks.base import Task
from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.functions import find
from blockstore.errors import CannotBuild

Confidence = Callable[[Tensor], Tensor]
"""`[batch, *output]` of a head to `[batch]`, 0 to 1. Made of operators that a torch form knows."""
MAX_PROBABILITY: Final = "max_probability"
ENTROPY: Final = "entropy"
CUSTOM: Final = "custom"


def max_probability(logits: Tensor) -> Tensor:
    """The largest probability of `[batch, classes]`."""
    return torch.softmax(logits, 1).amax(1)


def entropy(logits: Tensor) -> Tensor:
    """1 - H / log(classes) of `[batch, classes]`, with H = -sum p log p (BranchyNet, section III-B).

    An entropy below BranchyNet's threshold T is a value above 1 - T / log(classes).
    """
    logarithms = torch.log_softmax(logits, 1)
    # That of equal probabilities, -log(classes): where a graph is traced there is no number of classes yet.
    highest = torch.log_softmax(logits * 0.0, 1).mean(1)
    return 1.0 - (logarithms.exp() * logarithms).sum(1) / highest


def resolve(measure: str, task: Task) -> tuple[str, Confidence]:
    """The measure called `measure` and its function; `package.module:function` is a user's own, called `custom`.

    Raises `CannotBuild` where confidence is undefined for the task, or there is no such measure.
    """
    if ":" in measure:
        return CUSTOM, find(measure, arguments=1)
    if not isinstance(task, Classification):
        raise CannotBuild(
            f"exits of a network for {task.key!r} have no confidence: only classes have probabilities. Give a function"
            " of the outputs, [batch, ...] to [batch] from 0 to 1, as --exit-confidence package.module:function, or"
            " leave exits out"
        )
    known = {MAX_PROBABILITY: max_probability, ENTROPY: entropy}
    if measure not in known:
        raise CannotBuild(f"confidence {measure!r} is unknown: {', '.join(known)}, or package.module:function")
    return measure, known[measure]


def calibrated(logits: Tensor, labels: Tensor) -> float:
    """The temperature under which `logits` `[n, classes]` explain `labels` `[n]` best (Guo et al. 2017, section 4.2).

    The negative log-likelihood is convex in 1/T: the minimum is found by golden-section search on log T. Rows that hold
    anything but finite numbers are left aside; 1 where nothing else is there.
    """
    finite = logits.isfinite().all(1)
    if not finite.any():
        return 1.0
    logits, labels = logits[finite], labels[finite]
    ratio = (math.sqrt(5) - 1) / 2

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(logits.double() / math.exp(log_temperature), labels))

    low, high = math.log(0.05), math.log(20.0)
    inner, outer = high - ratio * (high - low), low + ratio * (high - low)
    at_inner, at_outer = loss(inner), loss(outer)
    while high - low > 1e-3:
        if at_inner < at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - ratio * (high - low)
            at_inner = loss(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + ratio * (high - low)
            at_outer = loss(outer)
    return round(math.exp((low + high) / 2), 4)
