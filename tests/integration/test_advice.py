"""Operators ask a real daemon why, and what if; it answers beside its work."""

from __future__ import annotations

import pytest

from schedulerd import ctl
from schedulerd.demo.digits import held_out
from schedulerd_client import Addition, Client
from tests.integration.daemons import Daemon

MODEL = "digits-residual"


def test_questions_are_answered_and_change_nothing(daemon: Daemon) -> None:
    """With budgets that a busy machine keeps: the board may give reasons for other plans meanwhile."""
    with Client(daemon.runtime) as client, daemon.control() as control:
        client.register(MODEL, budget_ms=5000, rate_hz=1, app="cam", percentile=99)
        (before,) = control.apps()["apps"]
        why = control.why("cam")
        assert (why["app"], why["percentile"], why["budget_ms"]) == ("cam", 99.0, 5000.0)
        assert len(why["route"]) == len(before["route"])
        compared = control.whatif({"cam": 0.1}, add=[Addition(MODEL, 5000.0, 1.0)])
        assert [row["app"] for row in compared["apps"]] == ["cam", MODEL]
        assert compared["apps"][0]["after"]["miss_ms"] > 0
        assert compared["nearest_budgets_ms"]["cam"] > 0.1
        (after,) = control.apps()["apps"]
        assert (after["app"], after["budget_ms"]) == ("cam", 5000.0)
        assert client.infer(held_out().images[0]).budget_ms == 5000.0


def test_an_objective_is_switched_while_it_serves(daemon: Daemon) -> None:
    with Client(daemon.runtime) as client, daemon.control() as control:
        client.register(MODEL, budget_ms=200, rate_hz=5, app="cam")
        accurate = control.apps()["apps"][0]["accuracy"]
        assert control.objective("min-latency")["objective"] == "min-latency"
        assert control.apps()["apps"][0]["accuracy"] <= accurate
        client.infer(held_out().images[0])
        assert control.objective("max-accuracy")["objective"] == "max-accuracy"


def test_an_impossible_budget_is_answered_with_one_that_is_possible(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(daemon.runtime) as client:
        client.register(MODEL, budget_ms=50, rate_hz=5, app="cam")
        assert ctl.main(["budget", "cam", "0.1ms", "--runtime", str(daemon.runtime)]) == 0
        assert "the least budget that can be met: " in capsys.readouterr().out
        assert ctl.main(["why", "cam", "--runtime", str(daemon.runtime)]) == 0
        assert "LIMIT THAT BINDS" in capsys.readouterr().out
