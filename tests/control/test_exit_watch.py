"""What is seen at exits becomes a reason for a new plan, knowledge for the optimizer, and events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blockstore.exits import FINAL, NO_EXITS, ExitPolicy
from schedulerd.control.exit_rates import BIN_S, FORGET_S
from schedulerd.control.exit_watch import NEWEST, ExitWatch
from schedulerd.control.policies import Observed
from schedulerd.plan import EMPTY_PLAN, AppPlan, Plan, Route
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.meter import Observation
from tests.serving.parts import AddBlock, exit_of, live_app, route_with

POLICY = ExitPolicy("own", (("exit1", 0.5), (FINAL, 0.0)))
EXPECTED = 0.6


class NoHead:
    """A `LoadedHead` that is never asked."""

    def run(self, tensors: Any) -> tuple[Any, float]:
        raise AssertionError("nothing runs here")


class Watched:
    """A watch with one app, whose plan expects a share of 0.6 at `exit1`."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.watch = ExitWatch(lambda kind, body: self.events.append((kind, body)))
        self.app: LiveApp = live_app(route=route_with(exit_of(0, NoHead()), blocks=[AddBlock(), AddBlock()], plan=4))
        self.plan = plan_of(POLICY, (EXPECTED, 1 - EXPECTED))

    def frames(self, count: int, confident: int, at_s: float) -> None:
        for number in range(count):
            left = number < confident
            self.app.meter.add(
                Observation(
                    at_s,
                    1.0,
                    1.0,
                    True,
                    plan=4,
                    exit="exit1" if left else FINAL,
                    left="confident" if left else "end",
                    evaluated=(("exit1", left),),
                )
            )

    def look(self, now_s: float) -> list[str]:
        return self.watch.look([self.app], self.plan, now_s)


def plan_of(policy: ExitPolicy, shares: tuple[float, ...]) -> Plan:
    route = Route("m", ("a", "b"), ("A", "B"), policy)
    planned = AppPlan("cam", route, 2.0, 3.0, 0.9, 2, 0.1, (1.0, 1.0), expected_ms=1.4, exit_shares=shares)
    return Plan(4, (planned,), 2, 10, 0.1)


def test_frames_that_do_as_expected_are_no_reason() -> None:
    watched = Watched()
    watched.frames(100, confident=62, at_s=1.0)
    assert watched.look(2.0) == []
    assert watched.watch.observed("cam") is None


def test_a_drift_is_a_reason_once_and_is_known_to_the_optimizer() -> None:
    watched = Watched()
    watched.frames(100, confident=20, at_s=1.0)
    (reason,) = watched.look(2.0)
    assert reason == "cam leaves differently at exit1 (20% of its frames, 60% expected)"
    assert watched.watch.observed("cam") == Observed(POLICY, {"exit1": 0.2})
    # The plan has not changed, because it was held back, or because its routes are the best all the same.
    assert watched.look(3.0) == []


def test_frames_of_an_earlier_route_say_nothing() -> None:
    watched = Watched()
    watched.frames(100, confident=20, at_s=1.0)
    watched.app.route = route_with(exit_of(0, NoHead()), blocks=[AddBlock(), AddBlock()], plan=5)
    assert watched.look(2.0) == []


def test_what_was_seen_at_an_exit_that_nobody_comes_to_any_more_is_forgotten_after_a_while() -> None:
    watched = Watched()
    watched.frames(100, confident=20, at_s=1.0)
    watched.look(2.0)
    watched.plan = plan_of(NO_EXITS, (1.0,))
    assert watched.look(3.0) == []
    assert watched.watch.observed("cam") is not None
    assert watched.look(2.0 + FORGET_S + 1.0) == ["the exits of cam are tried again"]
    assert watched.watch.observed("cam") is None


def test_what_was_seen_at_an_exit_is_forgotten_though_another_one_is_evaluated() -> None:
    watched = Watched()
    watched.frames(100, confident=20, at_s=1.0)
    watched.look(2.0)
    watched.plan = plan_of(ExitPolicy("deep", (("exit2", 0.5), (FINAL, 0.0))), (0.5, 0.5))
    assert watched.look(30.0) == []
    assert watched.look(2.0 + FORGET_S + 1.0) == ["the exits of cam are tried again"]
    assert watched.watch.observed("cam") is None


def test_the_newest_frames_count_of_an_app_that_sends_many() -> None:
    watched = Watched()
    watched.frames(300, confident=180, at_s=1.0)
    watched.frames(NEWEST, confident=NEWEST // 5, at_s=9.0)
    (reason,) = watched.look(10.0)
    assert "20% of its frames" in reason


def test_of_an_app_that_sends_few_a_minute_counts() -> None:
    watched = Watched()
    for second in range(50):
        watched.frames(1, confident=int(second % 5 == 0), at_s=float(second))
    (reason,) = watched.look(50.0)
    assert "20% of its frames" in reason


def test_what_was_seen_stays_known_while_the_exit_is_evaluated() -> None:
    watched = Watched()
    watched.frames(100, confident=20, at_s=1.0)
    watched.look(2.0)
    for later_s in (40.0, 80.0, 120.0):
        assert watched.look(later_s) == []
    assert watched.watch.observed("cam") is not None


def test_an_event_tells_every_few_seconds_where_frames_left() -> None:
    watched = Watched()
    watched.watch.tell([watched.app], watched.plan, 0.0)
    watched.frames(40, confident=30, at_s=1.0)
    watched.watch.tell([watched.app], watched.plan, BIN_S)
    watched.watch.tell([watched.app], watched.plan, BIN_S + 1.0)
    assert watched.events == [
        (
            "exits",
            {
                "app": "cam",
                "frames": 40,
                "exit_rates": {"exit1": 0.75, "final": 0.25},
                "exit_shares": {"exit1": EXPECTED, "final": 1 - EXPECTED},
            },
        )
    ]
    # No frames, no event; the history has the silence.
    watched.watch.tell([watched.app], watched.plan, 2 * BIN_S)
    assert len(watched.events) == 1
    assert [sum(b.counts.values()) for b in watched.watch.histories()["cam"].bins] == [40, 0]


def test_an_app_without_exits_or_without_a_plan_is_left_alone() -> None:
    watched = Watched()
    watched.frames(100, confident=20, at_s=1.0)
    assert watched.watch.look([watched.app], EMPTY_PLAN, 2.0) == []
    watched.app.route = None
    assert watched.look(2.0) == []
    watched.watch.tell([watched.app], watched.plan, BIN_S)
    assert watched.watch.histories() == {}


def test_an_app_that_left_is_forgotten() -> None:
    watched = Watched()
    watched.frames(100, confident=20, at_s=1.0)
    watched.look(2.0)
    watched.watch.tell([watched.app], watched.plan, 2.0)
    watched.watch.forget("cam")
    assert watched.watch.observed("cam") is None
    assert watched.watch.histories() == {}
