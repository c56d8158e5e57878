"""What an operator changes: how it is checked, noted and told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schedulerd.optimizer.objectives import MAX_ACCURACY, MIN_LATENCY
from schedulerd.wire.messages import Answer, Code, Failure, Objective, SetLimit, ShowPlan
from tests.control.stage import MB, Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    made.join()
    yield made
    made.switcher.close()


def test_another_objective_makes_another_plan_and_is_told(stage: Stage) -> None:
    answer = stage.ask(Objective(3, MIN_LATENCY))
    assert isinstance(answer, Answer)
    assert answer.result["objective"] == MIN_LATENCY
    assert "objective max-accuracy -> min-latency" in answer.result["sentence"]
    assert stage.loop.plan.apps[0].latency_p95_ms < 10
    (event,) = [e for e in stage.events if e.kind == "objective"]
    assert event.body == {"before": MAX_ACCURACY, "objective": MIN_LATENCY}
    assert stage.ask(ShowPlan(4)).result["objective"] == MIN_LATENCY


@pytest.mark.parametrize(("value_bytes", "said"), [(12 * MB, "12.0 MB"), (12_000 * MB, "12.0 GB"), (None, "auto")])
def test_a_memory_limit_is_told_in_the_unit_that_fits_it(stage: Stage, value_bytes: int | None, said: str) -> None:
    assert f"memory limit set to {said}:" in stage.ask(SetLimit(3, "memory", value_bytes)).result["sentence"]


def test_asking_for_the_objective_changes_nothing(stage: Stage) -> None:
    number, events = stage.loop.plan.number, len(stage.events)
    answer = stage.ask(Objective(3))
    assert (answer.result["objective"], answer.result["plan"]) == (MAX_ACCURACY, number)
    assert len(stage.events) == events


def test_an_objective_that_there_is_not_is_refused_with_the_nearest(stage: Stage) -> None:
    answer = stage.ask(Objective(3, "min-latancy"))
    assert isinstance(answer, Failure)
    assert answer.code is Code.BAD_VALUE
    assert 'did you mean "min-latency"?' in answer.message
    assert stage.ask(Objective(4)).result["objective"] == MAX_ACCURACY
