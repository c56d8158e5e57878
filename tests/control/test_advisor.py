"""What operators are told who ask why, and what if: on the real optimizer, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from schedulerd.control.advisor import PATIENCE_S
from schedulerd.control.aside import Job
from schedulerd.errors import Overloaded
from schedulerd.serving.defaults import Defaults
from schedulerd.serving.events import Asked
from schedulerd.wire.messages import Addition, Answer, Code, ControlRequest, Failure, SetBudget, SetLimit, WhatIf, Why
from tests.control.stage import MB, Stage


class Later:
    """Keeps jobs until the test wants them done."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.full = False
        self.closing = False

    def put(self, job: Job) -> None:
        if self.full:
            raise Overloaded("no room")
        self.jobs.append(job)

    def ending(self) -> bool:
        return self.closing


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    made.join()
    yield made
    made.switcher.close()


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def put_off(later: Later) -> Iterator[Stage]:
    """A stage whose questions are not answered before the test wants it."""
    made = Stage(aside=later)
    made.join()
    yield made
    made.switcher.close()


def pose(stage: Stage, request: ControlRequest) -> None:
    """Ask, without an answer yet."""
    stage.loop.turn([Asked(request, b"operator")])


def answer(stage: Stage, request: ControlRequest) -> dict[str, Any]:
    given = stage.ask(request)
    assert isinstance(given, Answer), given
    return dict(given.result)


def changed(stage: Stage, ask: Callable[[], object]) -> bool:
    """Whether a question changed anything that lasts."""
    before = (stage.loop.plan, stage.registry.named("cam").spec, len(stage.events))
    ask()
    return before != (stage.loop.plan, stage.registry.named("cam").spec, len(stage.events))


def test_an_app_at_its_best_is_bound_by_nothing(stage: Stage) -> None:
    why = answer(stage, Why(3, "cam"))
    assert (why["app"], why["route"], why["relaxed"], why["better"]) == ("cam", ["original", "original"], [], None)
    assert why["runner_up"]["accuracy"] == pytest.approx(0.88)
    assert why["nearest_budget_ms"] is None


def test_why_names_the_limit_and_what_a_tenth_more_of_it_would_buy(stage: Stage) -> None:
    """10.3 ms for the whole network: 9.5 ms are too few, a tenth more is enough."""
    stage.ask(SetBudget(3, "cam", 9.5))
    why = answer(stage, Why(4, "cam"))
    (relaxed,) = why["relaxed"]
    assert (relaxed["limit"], relaxed["before"], relaxed["after"]) == ("budget:cam", 9.5, pytest.approx(10.45))
    assert relaxed["gain"] == pytest.approx(0.02)
    assert why["better"]["route"] == ["original", "original"]
    (forbidden,) = why["better"]["forbidden_by"]
    assert (forbidden["limit"], forbidden["share"]) == ("budget:cam", forbidden["added"])


def test_why_says_since_when_and_what_for(stage: Stage) -> None:
    stage.ask(SetBudget(3, "cam", 9.5))
    stage.clock.advance(75.0)
    why = answer(stage, Why(4, "cam"))
    assert why["since_s"] == pytest.approx(75.0)
    assert why["cause"] == "budget of cam 50 -> 9.5 ms"


def test_a_budget_that_cannot_be_met_is_answered_with_the_nearest_that_can(stage: Stage) -> None:
    edited = answer(stage, SetBudget(3, "cam", 1.0))
    assert edited["miss_ms"] == pytest.approx(1.3)
    assert edited["nearest_budget_ms"] == pytest.approx(2.3)
    assert answer(stage, SetBudget(4, "cam", edited["nearest_budget_ms"]))["miss_ms"] == 0
    assert answer(stage, Why(5, "cam"))["miss_ms"] == 0


def test_a_budget_that_is_met_has_no_nearest(stage: Stage) -> None:
    assert answer(stage, SetBudget(3, "cam", 20.0))["nearest_budget_ms"] is None


def test_what_if_puts_the_plan_that_would_follow_beside_the_present_one(stage: Stage) -> None:
    compared = answer(stage, WhatIf(3, {"cam": 8.0}))
    (app,) = compared["apps"]
    assert (app["before"]["budget_ms"], app["after"]["budget_ms"]) == (50.0, 8.0)
    assert (app["before"]["accuracy"], app["after"]["accuracy"]) == (pytest.approx(0.9), pytest.approx(0.88))
    assert compared["before"]["weighted_accuracy"] > compared["after"]["weighted_accuracy"]
    assert compared["edits"] == ["budget of cam 50 -> 8 ms"]
    assert (compared["before"]["status"], compared["before"]["gap"], compared["held_back"]) == ("optimal", 0.0, None)


def test_what_if_tells_the_edit_from_what_damping_holds_back(stage: Stage) -> None:
    """The limit has gone, and the plan is too young to follow by itself."""
    stage.ask(SetBudget(3, "cam", 8.0))
    spec = stage.registry.named("cam").spec
    stage.registry.named("cam").spec = replace(spec, budget_ms=50.0)
    compared = answer(stage, WhatIf(4, memory_bytes=50 * MB))
    (app,) = compared["apps"]
    assert app["before"]["route"] == app["after"]["route"] == ["original", "original"]
    assert (
        "a new decision would gain 2.22 points by max-accuracy: cam would run something else" in compared["held_back"]
    )


def test_an_edit_leads_to_what_what_if_said(stage: Stage) -> None:
    foreseen = answer(stage, WhatIf(3, {"cam": 8.0}))["apps"][0]["after"]
    stage.ask(SetBudget(4, "cam", 8.0))
    planned = stage.loop.plan.apps[0]
    assert (foreseen["route"], foreseen["latency_p95_ms"]) == (list(planned.route.variants), planned.latency_p95_ms)


@pytest.mark.parametrize(
    "request_",
    [
        Why(3, "cam"),
        WhatIf(3, {"cam": 1.0}, 3 * MB, (Addition("m", 50.0, 15.0),), "min-latency"),
    ],
    ids=["why", "whatif"],
)
def test_a_question_changes_nothing(stage: Stage, request_: ControlRequest) -> None:
    assert not changed(stage, lambda: stage.ask(request_))


def test_apps_that_would_join_get_names_that_are_free(stage: Stage) -> None:
    stage.join("m")
    twice = (Addition("m", 50.0, 15.0), Addition("m", 60.0, 5.0))
    apps = {row["app"]: row for row in answer(stage, WhatIf(3, add=twice))["apps"]}
    assert list(apps) == ["cam", "m", "m-2", "m-3"]
    assert apps["m-2"]["before"] is None
    assert (apps["m-2"]["after"]["budget_ms"], apps["m-3"]["after"]["budget_ms"]) == (50.0, 60.0)


def test_more_memory_than_the_configuration_allows_is_not_imagined(stage: Stage) -> None:
    """As `set_limit`: the least of all limits holds."""
    assert answer(stage, WhatIf(3, memory_bytes=900 * MB))["after"]["memory_limit_bytes"] == 100 * MB
    assert answer(stage, WhatIf(4, memory_bytes=5 * MB))["after"]["memory_limit_bytes"] == 5 * MB


def test_more_memory_than_the_operator_allows_is_imagined(stage: Stage) -> None:
    stage.ask(SetLimit(3, "memory", 5 * MB))
    compared = answer(stage, WhatIf(4, memory_bytes=50 * MB))
    assert compared["after"]["memory_limit_bytes"] == 50 * MB
    assert compared["after"]["weighted_accuracy"] > compared["before"]["weighted_accuracy"]


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (Why(3, "nobody"), Code.UNKNOWN_APP, "no app 'nobody'; apps: cam"),
        (WhatIf(3), Code.BAD_VALUE, "nothing is different"),
        (WhatIf(3, {"nobody": 5.0}), Code.UNKNOWN_APP, "no app 'nobody'"),
        (WhatIf(3, {"cam": 0.0}), Code.BAD_VALUE, "budget_ms is 0"),
        (WhatIf(3, memory_bytes=0), Code.BAD_VALUE, "memory limit is 0 bytes"),
        (WhatIf(3, objective="max-acuracy"), Code.BAD_VALUE, 'did you mean "max-accuracy"?'),
        (WhatIf(3, add=(Addition("n", 50.0, 15.0),)), Code.UNKNOWN_MODEL, "no model 'n'"),
        (WhatIf(3, add=(Addition("m", -1.0, 15.0),)), Code.BAD_VALUE, "budget_ms is -1"),
        (WhatIf(3, add=(Addition("m", 50.0, 1e9),)), Code.BAD_VALUE, "rate_hz is 1e+09"),
    ],
)
def test_a_senseless_question_is_refused(stage: Stage, request_: ControlRequest, code: Code, said: str) -> None:
    given = stage.ask(request_)
    assert isinstance(given, Failure)
    assert given.code is code
    assert said in given.message


def test_an_app_may_be_added_by_an_alias_as_it_may_register_by_one() -> None:
    stage = Stage(defaults=Defaults({"gate": "m", "wrong": "n"}))
    stage.join()
    result = answer(stage, WhatIf(3, add=(Addition("gate", 50.0, 15.0),)))
    assert [row["app"] for row in result["apps"]] == ["cam", "gate"]
    refused = stage.ask(WhatIf(4, add=(Addition("wrong", 50.0, 15.0),)))
    assert refused.code is Code.UNKNOWN_MODEL
    assert "'wrong' stands for 'n' ([models] aliases): no model 'n'" in refused.message
    stage.switcher.close()


def test_the_loop_goes_on_while_a_question_is_open(put_off: Stage, later: Later) -> None:
    put_off.loop.turn([])
    pose(put_off, Why(3, "cam"))
    assert put_off.answers == []
    put_off.join("other")
    assert put_off.loop.plan.app("other") is not None
    later.jobs[0]()
    (given,) = put_off.answers
    assert (given.id, given.result["plan"]) == (3, 1), "it is about the plan that was asked about"


def test_an_answer_that_takes_too_long_is_given_up(put_off: Stage, later: Later) -> None:
    pose(put_off, Why(3, "cam"))
    put_off.clock.advance(PATIENCE_S + 1)
    later.jobs[0]()
    (given,) = put_off.answers
    assert given.code is Code.OVERLOADED
    assert "more than 60 s" in given.message


def test_a_daemon_that_stops_gives_up_its_answers(put_off: Stage, later: Later) -> None:
    pose(put_off, WhatIf(3, {"cam": 8.0}))
    later.closing = True
    later.jobs[0]()
    assert put_off.answers[0].code is Code.SHUTTING_DOWN


def test_a_question_too_many_is_refused(put_off: Stage, later: Later) -> None:
    later.full = True
    assert put_off.ask(Why(3, "cam")) == Failure(3, Code.OVERLOADED, "no room")


def test_an_edited_budget_is_answered_though_its_nearest_is_not_found(put_off: Stage, later: Later) -> None:
    pose(put_off, SetBudget(3, "cam", 1.0))
    put_off.clock.advance(PATIENCE_S + 1)
    later.jobs[0]()
    later.full = True
    pose(put_off, SetBudget(4, "cam", 1.1))
    slow, crowded = put_off.answers
    assert (slow.result["miss_ms"], slow.result["nearest_budget_ms"]) == (pytest.approx(1.3), None)
    assert (crowded.result["miss_ms"], crowded.result["nearest_budget_ms"]) == (pytest.approx(1.2), None)
