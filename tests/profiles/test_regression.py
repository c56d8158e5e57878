"""The regressions, on blocks whose cost follows a law that the test knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from blockprofiles.operators import Operator
from blockprofiles.regression import Sample, fit, kind_of, latency_variables, memory_variables

SPATIAL, POINTWISE, RELU = "Conv/blocked/spatial", "Conv/blocked/pointwise", "Relu"


def convolution(name: str, channels: int, side: int = 16) -> Operator:
    elements = channels * side * side
    kernel = 9 if name == SPATIAL else 1
    return Operator(
        name, elements, elements, 8 * elements, 4 * kernel * channels**2, kernel * channels * elements, side
    )


def relu(elements: int) -> Operator:
    return Operator(RELU, elements, elements, 8 * elements)


def law_ms(operators: Sequence[Operator]) -> float:
    """5 us a call, 1 us a kernel; spatial convolutions compute half as fast as pointwise ones."""
    pace = {SPATIAL: 2e-8, POINTWISE: 1e-8, RELU: 0.0}
    per_element = {SPATIAL: 0.0, POINTWISE: 0.0, RELU: 1e-7}
    return 5e-3 + sum(1e-3 + pace[o.type] * o.multiply_adds + per_element[o.type] * o.inputs for o in operators)


def blocks() -> list[tuple[Operator, ...]]:
    draw = np.random.default_rng(0)
    found = []
    for _ in range(60):
        channels = [int(8 * c) for c in draw.integers(1, 12, 3)]
        chosen = [convolution((SPATIAL, POINTWISE)[int(draw.integers(2))], c) for c in channels]
        found.append((*chosen, *(relu(256 * c) for c in channels[: int(draw.integers(3))])))
    return found


def test_blocks_that_were_not_measured_cost_what_the_law_of_their_operators_says() -> None:
    known, unknown = blocks()[:45], blocks()[45:]
    regression = fit([Sample(b, law_ms(b)) for b in known])
    errors = [abs(regression.cost(b) / law_ms(b) - 1) for b in unknown]
    assert np.median(errors) < 0.03


def test_the_parts_of_a_block_are_its_cost() -> None:
    regression = fit([Sample(b, law_ms(b)) for b in blocks()])
    block = blocks()[0]
    assert sum(regression.parts(block).values()) == pytest.approx(regression.cost(block))
    assert set(regression.parts(block)) <= {"", SPATIAL, POINTWISE, RELU}


def test_more_work_never_costs_less() -> None:
    draw = np.random.default_rng(1)
    regression = fit([Sample(b, law_ms(b) * float(draw.uniform(0.5, 2))) for b in blocks()])
    assert min(regression.weights.values()) >= 0
    small, large = convolution(SPATIAL, 16), convolution(SPATIAL, 64)
    assert regression.cost([small]) < regression.cost([large])


def test_a_type_that_was_never_measured_costs_what_its_kind_does() -> None:
    regression = fit([Sample(b, law_ms(b)) for b in blocks()])
    unseen = replace(convolution(SPATIAL, 32), type="Conv/first")
    assert law_ms([convolution(POINTWISE, 32)]) < regression.cost([unseen]) < 1.5 * law_ms([convolution(SPATIAL, 32)])


def test_errors_count_relative_to_the_time() -> None:
    """A block of 100 s among quick ones does not spoil these."""
    slow = Sample((convolution(SPATIAL, 96),), 1e5)
    regression = fit([*(Sample(b, law_ms(b)) for b in blocks()), slow])
    assert np.median([abs(regression.cost(b) / law_ms(b) - 1) for b in blocks()]) < 0.1


def test_memory_follows_kernels_and_weights() -> None:
    def held_bytes(block: Sequence[Operator]) -> float:
        return 30_000 + 10_000 * len(block) + sum(o.weight_bytes for o in block)

    regression = fit([Sample(b, held_bytes(b)) for b in blocks()[:45]], memory_variables)
    assert max(abs(regression.cost(b) / held_bytes(b) - 1) for b in blocks()[45:]) < 0.05


def test_nothing_can_be_fitted_to_nothing() -> None:
    with pytest.raises(ValueError, match="at least one measured block"):
        fit([])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (SPATIAL, "convolution"),
        ("Conv/depthwise", "depthwise"),
        ("QLinearConv/depthwise", "integer depthwise"),
        ("QLinearConv/pointwise", "integer convolution"),
        ("Gemm", "product"),
        ("ReorderInput", "movement"),
        ("Whole/torch/float", "Whole/torch/float"),
    ],
)
def test_types_have_kinds_and_a_kind_is_its_own(name: str, kind: str) -> None:
    assert kind_of(name) == kind
    assert kind_of(kind) == kind


def test_what_fits_the_near_cache_does_not_cost_extra() -> None:
    small, large = relu(1000), relu(1_000_000)
    assert latency_variables(small)["far"] == 0
    assert latency_variables(large)["far"] == 8_000_000 - 2**18
