"""An app whose camera frames the daemon prepares: what that takes is measured, planned with and told."""

from __future__ import annotations

from typing import Any

import pytest

from blockstore.block import TensorSpec
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Joined
from schedulerd.serving.prepare import Preparation
from schedulerd.wire.messages import Apps, Registered, ShowPlan, TensorHeader
from tests.control.stage import Stage
from tests.fakes import FakeClock

GIVEN = TensorSpec("uint8", (4, 6, 3))


class _Slow(Preparation):
    """Takes 3 ms a frame."""

    clock: FakeClock

    def run(self, frames: Any) -> Any:
        self.clock.advance(0.003)
        return frames


class _Failing(Preparation):
    """Finds no memory."""

    def run(self, frames: Any) -> Any:
        raise MemoryError


def joined(stage: Stage, kind: type[Preparation], budget_ms: float = 50.0) -> LiveApp:
    app = stage.live(budget_ms=budget_ms)
    app.preparation = kind(GIVEN, 2, 2, False, False, None)
    app.input, app.credit = GIVEN, 4
    _Slow.clock = stage.clock
    stage.loop.turn([Joined(app, 7)])
    return app


def test_the_first_frames_time_is_measured_when_the_app_joins() -> None:
    stage = Stage()
    plain, app = stage.join("plain", 500.0), joined(stage, _Slow, 500.0)
    assert (plain.spec.prepare_ms, app.spec.prepare_ms) == (0.0, pytest.approx(3))
    ours, others = stage.loop.plan.app("cam"), stage.loop.plan.app("plain")
    assert ours is not None
    assert others is not None
    assert ours.route == others.route
    assert ours.latency_ms == pytest.approx(others.latency_ms + 3)


def test_a_route_is_chosen_that_leaves_time_to_prepare() -> None:
    """Both blocks at full size take 10 ms, both small ones 2 ms."""
    stage = Stage()
    stage.join("plain", 12.0)
    assert [b.latency_ms for b in stage.loop.plan.apps] == [10.0]
    other = Stage()
    joined(other, _Slow, 12.0)
    (planned,) = other.loop.plan.apps
    assert planned.latency_ms < 10.0
    assert planned.miss_ms == 0.0


def test_the_plan_shows_the_blocks_own_times() -> None:
    stage = Stage()
    joined(stage, _Slow)
    (shown,) = stage.ask(ShowPlan(1)).result["apps"]
    assert [block["ms"] for block in shown["blocks"]] == pytest.approx([5.0, 5.0])
    assert shown["latency_ms"] == pytest.approx(13.0)


def test_the_app_is_told_what_it_may_send() -> None:
    stage = Stage()
    joined(stage, _Slow)
    _, reply = stage.replies[-1]
    assert isinstance(reply, Registered)
    assert (reply.input, reply.credit) == (TensorHeader("uint8", (4, 6, 3)), 4)


def test_a_frame_that_cannot_be_prepared_now_keeps_nobody_waiting() -> None:
    stage = Stage()
    app = joined(stage, _Failing)
    assert isinstance(stage.replies[-1][1], Registered)
    assert app.spec.prepare_ms == 0.0


def test_who_has_left_again_costs_no_measurement() -> None:
    """Else a client that registers and leaves in a loop would keep the control thread from everybody."""
    stage = Stage()
    app = stage.live()
    app.preparation, app.gone = _Slow(GIVEN, 2, 2, False, False, None), True
    _Slow.clock = stage.clock
    began_s = stage.clock.now_s()
    stage.loop.turn([Joined(app, 7)])
    assert stage.clock.now_s() == began_s


def test_an_operator_sees_what_apps_share() -> None:
    stage = Stage()
    stage.join().meter.shared_blocks = 12
    assert stage.ask(Apps(1)).result["apps"][0]["shared"] == 12
