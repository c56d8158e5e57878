"""What heads are taught by, beside the formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from blockstore.build.exits.losses import cross_entropy, focal, imitation

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(16, 5, generator=GENERATOR)
CLASSES = torch.arange(16) % 5
ORIGINALS = 3 * torch.randn(16, 5, generator=GENERATOR)


@pytest.mark.parametrize("target", [CLASSES, ORIGINALS], ids=["classes", "logits of the original"])
def test_focal_loss_without_focus_is_cross_entropy(target: Tensor) -> None:
    assert float(focal(0.0)(LOGITS, target)) == pytest.approx(float(cross_entropy(LOGITS, target)), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_is_its_formula(gamma: float) -> None:
    probabilities = LOGITS.double().softmax(1)[torch.arange(16), CLASSES]
    by_hand = -(((1 - probabilities) ** gamma) * probabilities.log()).mean()
    assert float(focal(gamma)(LOGITS, CLASSES)) == pytest.approx(float(by_hand), rel=1e-5)


def test_focal_loss_of_soft_targets_weighs_each_class_by_its_probability() -> None:
    wanted, found = ORIGINALS.double().softmax(1), LOGITS.double().softmax(1)
    by_hand = -(wanted * (1 - found) ** 2 * found.log()).sum(1).mean()
    assert float(focal(2.0)(LOGITS, ORIGINALS)) == pytest.approx(float(by_hand), rel=1e-5)


def test_a_soft_target_that_is_certain_is_a_class() -> None:
    certain = 1000.0 * functional.one_hot(CLASSES, 5)
    for loss in (cross_entropy, focal(2.0)):
        assert float(loss(LOGITS, certain)) == pytest.approx(float(loss(LOGITS, CLASSES)), rel=1e-5)


def test_what_is_right_already_counts_little() -> None:
    easy, hard = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    right = torch.tensor([0])
    plain = float(cross_entropy(hard, right) / cross_entropy(easy, right))
    focused = float(focal(2.0)(hard, right) / focal(2.0)(easy, right))
    assert focused > 100 * plain


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_slopes_are_finite_where_the_answer_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    loss = focal(gamma)(logits, torch.tensor([0]))
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope.isfinite().all()


def test_imitation_is_the_error_relative_to_the_variance_of_the_original() -> None:
    assert float(imitation(ORIGINALS, ORIGINALS)) == 0.0
    mean = ORIGINALS.mean(0, keepdim=True).expand_as(ORIGINALS)
    assert float(imitation(mean, ORIGINALS)) == pytest.approx(1.0, rel=0.3)
