"""Edgent's regressions: what a block costs, as the sum of what its operators cost, one regression for each type.

Edgent (Li et al., MECOMM 2018, section 3.2) times single layers and fits one line for each type. Operators that are
timed alone cost something else than inside of a block, so all lines are fitted at once to times of whole blocks:

    time of a block = call + sum over its operators of (kernel of its kind + weights of its type . its variables)

Weights are not negative (more work never takes less time), and errors count relative to the time. Types that are rare
lean on what operators of their kind cost together: the distance from that is penalised (ridge), and a type that was
never seen costs what its kind does.

Tried on 587 block variants of 12 networks, onnxruntime on one AVX-512 core; median error of the networks left out, one
at a time (in brackets: both ResNets for CIFAR left out where one is):

    20% (26%)      Edgent's variables: sizes of input and output; of convolutions (kernel/stride)^2 . filters
    10.7% (11.7%)  these, multiply-adds and bytes of weights
    11.3% (13.1%)  the variables below without `far`
    10.1% (10.7%)  without `row_ends`
    12.9% (13.0%)  as below, one regression for each kind
    9.4% (10.6%)   as below, types that lean on nothing; a tenth of the errors is above 39%, where it is 35% below
    9.8% (10.6%)   the variables below
    9.9% (11.2%)   sizes in bytes in place of elements; MobileNetV2 41%, where it is 20% below

Times of single kernels by onnxruntime's own profile, fitted together with those of blocks, gave 8.6% and 12%: they are
whole microseconds, of kernels that take one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blockprofiles.nonnegative import nonnegative_least_squares
from blockprofiles.operators import CONVOLUTIONS, PRODUCTS, WHOLE, Operator

CALL: Final = ("", "call")
"""What a block costs before it does anything."""
NEAR_CACHE_BYTES: Final = 2**18
"""Of tensors that a kernel reads and writes: what goes beyond may come from a farther cache, and costs extra."""
_LEANING: Final = 0.1
"""Of a type on its kind, relative to the errors of the samples."""
_LEAST: Final = 1e-3
"""The same for a kind, towards nothing: it decides between variables that say the same."""

Array = npt.NDArray[np.float64]
Column = tuple[str, str]
"""A type or kind of operators, and a variable of theirs."""
Variables = Callable[[Operator], Mapping[str, float]]
"""What the cost of an operator is proportional to."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A block that was measured."""

    operators: tuple[Operator, ...]
    measured: float
    """ms, or bytes: above 0."""
    group: str = ""
    """Samples of one group are alike: blocks of one model."""


@dataclass(frozen=True)
class Regression:
    """Weights by type, and by kind for types that were not seen."""

    variables: Variables
    weights: Mapping[Column, float]

    def cost(self, operators: Sequence[Operator]) -> float:
        """Of a block with these operators, in the unit of the samples."""
        return sum(self.parts(operators).values())

    def parts(self, operators: Sequence[Operator]) -> dict[str, float]:
        """`cost` by type of operator; the call and the kernels as such are one part, called ``."""
        found: dict[str, float] = defaultdict(float)
        for (name, variable), amount in _amounts(operators, self.variables).items():
            weight = self.weights.get((name, variable))
            if weight is None:
                weight = self.weights.get((kind_of(name), variable), 0.0)
            found["" if variable in ("call", "kernel") else name] += weight * amount
        return dict(found)


def latency_variables(operator: Operator) -> dict[str, float]:
    """What time depends on: Edgent's sizes of input and output, arithmetic, and what caches do not hold.

    Kernels of a convolution work on several places of a row at once, and do less in the same time where rows end:
    hence multiply-adds over the width.
    """
    kind = kind_of(operator.type)
    sizes: dict[str, float] = {"inputs": operator.inputs, "outputs": operator.outputs}
    if kind != PRODUCT:
        sizes["far"] = max(0, operator.moved_bytes - NEAR_CACHE_BYTES)
    if kind != MOVEMENT:
        sizes["weights"] = operator.weight_bytes
        sizes["multiply_adds"] = operator.multiply_adds
    if kind in _CONVOLVING:
        sizes["row_ends"] = operator.multiply_adds / operator.output_width
    return sizes


def memory_variables(operator: Operator) -> dict[str, float]:
    """What memory depends on beside the number of kernels: Edgent loads a model in proportion to its size."""
    return {"weights": operator.weight_bytes}


PRODUCT: Final = "product"
MOVEMENT: Final = "movement"
_CONVOLVING: Final = frozenset({"convolution", "depthwise", "integer convolution", "integer depthwise"})


def kind_of(name: str) -> str:
    """The kind of a type of operators; of a kind, itself."""
    base, *rest = name.split("/")
    if base in CONVOLUTIONS:
        work = "depthwise" if rest[-1] == "depthwise" else "convolution"
        return f"integer {work}" if "QLinear" in base or "Integer" in base else work
    if base in PRODUCTS:
        return PRODUCT
    return name if base == WHOLE or name in _CONVOLVING or name == PRODUCT else MOVEMENT


def fit(samples: Sequence[Sample], variables: Variables = latency_variables) -> Regression:
    """The regressions of all types that the samples have; ValueError without any sample."""
    if not samples:
        raise ValueError("regressions need at least one measured block; measure some first")
    amounts = [_amounts(sample.operators, variables) for sample in samples]
    measured = np.array([sample.measured for sample in samples])
    kinds = _fitted([_by_kind(each) for each in amounts], measured, {}, _LEAST)
    return Regression(variables, {**kinds, **_fitted(amounts, measured, kinds, _LEANING)})


def _fitted(
    amounts: Sequence[Mapping[Column, float]], measured: Array, prior: Mapping[Column, float], leaning: float
) -> dict[Column, float]:
    """Weights by column, drawn towards the `prior` of their kind; kernels and calls are not, where there is one."""
    columns = sorted({column for each in amounts for column in each})
    matrix = np.array([[each.get(column, 0.0) for column in columns] for each in amounts]) / measured[:, None]
    scale = np.sqrt((matrix**2).mean(axis=0))
    scale[scale == 0] = 1.0
    expected = np.array([prior.get((kind_of(name), variable), 0.0) for name, variable in columns])
    pull = np.full(len(columns), leaning * np.sqrt(len(measured)))
    if prior:
        pull[[variable in ("call", "kernel") for _, variable in columns]] = _LEAST
    system = np.vstack([matrix / scale, np.diag(pull)])
    target = np.concatenate([np.ones(len(measured)), pull * expected * scale])
    weights = nonnegative_least_squares(system, target) / scale
    return dict(zip(columns, weights.tolist(), strict=True))


def _amounts(operators: Sequence[Operator], variables: Variables) -> dict[Column, float]:
    """Sums of the variables over a block; kernels are counted by family, which depthwise ones share with others."""
    found: dict[Column, float] = defaultdict(float)
    found[CALL] = 1.0
    for operator in operators:
        found[kind_of(operator.type).replace("depthwise", "convolution"), "kernel"] += 1.0
        for variable, amount in variables(operator).items():
            found[operator.type, variable] += amount
    return found


def _by_kind(amounts: Mapping[Column, float]) -> dict[Column, float]:
    found: dict[Column, float] = defaultdict(float)
    for (name, variable), amount in amounts.items():
        found[(name, variable) if (name, variable) == CALL else (kind_of(name), variable)] += amount
    return found
