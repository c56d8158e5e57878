"""How sure an exit is: by hand, for no numbers, for tasks that have no classes, and after calibration."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from blockstore.build.exits.confidence import CUSTOM, calibrated, entropy, max_probability, resolve
from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.registry import parse_task
from blockstore.errors import CannotBuild

EVEN, SURE = torch.zeros(1, 4), torch.tensor([[100.0, 0, 0, 0]])
HALVES = torch.tensor([[1.0, 1.0, -100.0, -100.0]])
HERE = "tests.blockstore.build.exits.test_confidence"


def length(outputs: Tensor) -> Tensor:
    """A confidence of a user's own."""
    return outputs.abs().mean(1).clamp(0.0, 1.0)


def test_the_largest_probability_by_hand() -> None:
    assert float(max_probability(EVEN)) == pytest.approx(0.25)
    assert float(max_probability(HALVES)) == pytest.approx(0.5)
    assert float(max_probability(torch.tensor([[math.log(6.0), math.log(3.0), 0.0]]))) == pytest.approx(0.6)


def test_the_entropy_by_hand() -> None:
    # Two of four outcomes: H = log 2, half of log 4.
    assert [float(entropy(logits)) for logits in (EVEN, HALVES, SURE)] == pytest.approx([0.0, 0.5, 1.0], abs=1e-6)
    three = torch.tensor([[math.log(2.0), 0.0, 0.0]])
    by_hand = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    assert float(entropy(three)) == pytest.approx(1 - by_hand / math.log(3))


@pytest.mark.parametrize("measure", [max_probability, entropy])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_reach_no_threshold(measure: object, wrong: float) -> None:
    logits = torch.tensor([[0.0, wrong, 1.0], [0.0, 9.0, 1.0]])
    assert callable(measure)
    assert (measure(logits) >= 0.0).tolist() == [False, True]


def test_a_known_temperature_is_found_again() -> None:
    # Labels drawn by the probabilities of the logits, which then are made too sure, and too unsure.
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    for temperature in (0.5, 1.0, 3.0):
        assert calibrated(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_no_temperature_explains_the_labels_better() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, labels = 4 * torch.randn(300, 3, generator=generator), torch.arange(300) % 3
    logits[torch.arange(150), labels[:150]] += 4
    best = calibrated(logits, labels)
    losses = {t: float(functional.cross_entropy(logits / t, labels)) for t in (best, best * 1.05, best / 1.05)}
    assert min(losses, key=lambda t: losses[t]) == best


def test_frames_without_numbers_do_not_move_the_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(500, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    broken = torch.cat([logits, torch.full((9, 4), float("nan")), torch.full((9, 4), float("inf"))])
    assert calibrated(broken, torch.cat([labels, torch.zeros(18, dtype=torch.int64)])) == calibrated(logits, labels)
    assert calibrated(torch.full((3, 4), float("nan")), torch.zeros(3, dtype=torch.int64)) == 1.0


@pytest.mark.parametrize("task", ["embedding", "detection?decode=tests.blockstore.build.exits.test_confidence:length"])
def test_a_task_without_classes_has_no_confidence_but_the_users_own(task: str) -> None:
    with pytest.raises(
        CannotBuild, match=r"have no confidence: .*--exit-confidence package\.module:function, or leave"
    ):
        resolve("max_probability", parse_task(task))
    measure, function = resolve(f"{HERE}:length", parse_task(task))
    assert measure == CUSTOM
    assert function(torch.full((2, 3), 0.5)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("margin", "confidence 'margin' is unknown: max_probability, entropy, or package.module:function"),
        (f"{HERE}:absent", "has no 'absent'"),
        (f"{HERE}:HERE", "is a str, not a function"),
    ],
)
def test_a_measure_that_is_not_there_is_refused(measure: str, message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        resolve(measure, Classification())
