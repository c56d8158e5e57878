"""What the configuration says in place of an app that registers."""

from __future__ import annotations

import pytest

from schedulerd.serving.defaults import Defaults
from schedulerd.wire.messages import Register

DEFAULTS = Defaults({"gate": "residual", "plain": "residual"}, {"gate": 25.0, "residual": 30.0}, 40.0)


@pytest.mark.parametrize(
    ("model", "budget_ms", "meant", "given_ms"),
    [
        ("gate", None, "residual", 25.0),
        ("gate", 12.0, "residual", 12.0),
        ("plain", None, "residual", 30.0),
        ("residual", None, "residual", 30.0),
        ("other", None, "other", 40.0),
    ],
    ids=["of-the-alias", "the-apps-own", "of-the-aliass-model", "of-the-model", "of-any-other"],
)
def test_a_name_stands_for_a_model_and_brings_a_budget(
    model: str, budget_ms: float | None, meant: str, given_ms: float
) -> None:
    filled = DEFAULTS.filled(Register(3, model, budget_ms, 10.0, priority=8))
    assert filled == Register(3, meant, given_ms, 10.0, priority=8)


def test_without_any_a_registration_stays_as_it_is() -> None:
    request = Register(3, "residual", None, 10.0)
    assert Defaults().filled(request) == request
