"""Scrapes see the control loop's knowledge, wait for it with a time-out, and do not keep it busy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schedulerd.control.tally import Totals
from schedulerd.metrics.viewer import FRESH_S, Viewer
from schedulerd.serving.events import Left, Viewed
from tests.control.stage import Stage
from tests.metrics.parts import viewer_of


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.switcher.close()


class Loop:
    """Takes events in when the test says so; it counts them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.asked = 0
        self.answers = True

    def post(self, event: Viewed) -> None:
        self.asked += 1
        if self.answers:
            self.stage.loop.turn([event])


def viewer_with(loop: Loop) -> Viewer:
    return Viewer(loop.post, {}, dict, loop.stage.clock, answer_s=0.01)


def test_a_view_is_of_the_end_of_a_turn(stage: Stage) -> None:
    viewer = viewer_of(stage)
    stage.join("cam")
    view = viewer.view()
    assert view is not None
    assert [app.name for app in view.apps] == ["cam"]
    assert view.apps[0].planned == stage.loop.plan.app("cam")
    assert view.silence_s == {"control": 0.25, "lane-0": 0.0}


def test_to_look_is_no_reason_to_decide(stage: Stage) -> None:
    stage.join("cam")
    decided = stage.loop.decisions
    viewer_of(stage).view()
    assert stage.loop.decisions == decided
    assert stage.answers == []


def test_counts_are_of_now_though_the_loop_answered_a_moment_ago(stage: Stage) -> None:
    loop, app = Loop(stage), stage.join("cam")
    viewer = viewer_with(loop)
    viewer.view()
    stage.frame(app, 20.0)
    view = viewer.view()
    assert view is not None
    assert view.apps[0].live.meter.answered == 1
    assert view.apps[0].measured_p95_ms == 20.0
    assert loop.asked == 1


def test_many_who_ask_cost_the_loop_a_few_turns_a_second(stage: Stage) -> None:
    loop = Loop(stage)
    viewer = viewer_with(loop)
    for _ in range(100):
        viewer.view()
    assert loop.asked == 1
    stage.clock.advance(FRESH_S)
    viewer.view()
    assert loop.asked == 2


def test_before_the_loop_ever_answers_nothing_is_known(stage: Stage) -> None:
    loop = Loop(stage)
    loop.answers = False
    viewer = viewer_with(loop)
    assert viewer.view() is None
    assert viewer.view() is None
    assert loop.asked == 1, "the second one does not wait again"


def test_what_a_busy_loop_said_last_is_told_with_its_age(stage: Stage) -> None:
    loop = Loop(stage)
    viewer, app = viewer_with(loop), stage.join("cam")
    viewer.view()
    loop.answers = False
    stage.clock.advance(7.0)
    stage.frame(app, 20.0)
    view = viewer.view()
    assert view is not None
    assert view.age_s == 7.0
    assert view.apps[0].live.meter.answered == 1


def test_an_app_that_has_left_is_gone_though_the_loop_is_busy(stage: Stage) -> None:
    loop = Loop(stage)
    viewer, app = viewer_with(loop), stage.join("cam")
    viewer.view()
    loop.answers = False
    stage.registry.remove(app)
    view = viewer.view()
    assert view is not None
    assert view.apps == ()


def test_sums_do_not_fall_between_an_apps_leaving_and_its_being_counted(stage: Stage) -> None:
    """Then it is neither among the live ones nor among those that have left."""
    viewer, app = viewer_of(stage), stage.join("cam")
    stage.frames(app, 60.0, count=3)
    seen = viewer.view()
    assert seen is not None
    assert (seen.totals.requests, seen.totals.misses) == (3, 3)
    stage.registry.remove(app)
    stage.clock.advance(FRESH_S)
    between = viewer.view()
    assert between is not None
    assert between.now.totals == Totals(), "the loop itself has lost sight of it"
    assert between.totals == seen.totals
    stage.loop.turn([Left(app, "gone")])
    stage.clock.advance(FRESH_S)
    after = viewer.view()
    assert after is not None
    assert after.totals == seen.totals
