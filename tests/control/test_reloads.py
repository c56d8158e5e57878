"""A configuration that was read again: what the control loop applies, plans, tells and answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from schedulerd.config import Config, parse
from schedulerd.control.board_watch import BoardWatch
from schedulerd.control.reloads import Reread, answerable
from schedulerd.errors import ConfigError
from schedulerd.optimizer.objectives import MIN_LATENCY
from schedulerd.serving.events import Asked
from schedulerd.wire.messages import Answer, Code, Failure, Objective, Reload, ShowPlan, Status
from tests.control.stage import LIMITS, MB, Stage

RELOAD = Asked(Reload(3), b"operator")


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    made.join()
    yield made
    made.switcher.close()


def written(stage: Stage, text: str) -> Config:
    """The stage's configuration with what a file says."""
    new = parse(f'[limits]\nmemory = "100MB"\n[control]\ndecide_within_s = 10\n{text}', "test")
    return replace(new, paths=stage.config.paths)


def test_who_asks_has_the_files_read_and_waits(stage: Stage) -> None:
    answers, number = len(stage.answers), stage.loop.plan.number
    stage.loop.turn([RELOAD])
    assert stage.rereads == [RELOAD]
    assert (len(stage.answers), stage.loop.plan.number) == (answers, number)


def test_a_limit_is_in_force_and_planned_for_when_the_answer_comes(stage: Stage) -> None:
    new = replace(stage.config, limits=replace(stage.config.limits, memory_bytes=5 * MB))
    stage.loop.turn([Reread(new, RELOAD)])
    answer = stage.answers[-1]
    assert isinstance(answer, Answer)
    change = {"section": "limits", "key": "memory", "before": '"100MB"', "after": '"5MB"'}
    assert (answer.result["applied"], answer.result["restart"]) == ([change], [])
    assert stage.loop.plan.memory_bytes <= 5 * MB
    assert answer.result["plan"] == stage.loop.plan.number == 2
    assert 'configuration: [limits] memory "100MB" -> "5MB"' in answer.result["sentence"]
    assert stage.ask(Status(4)).result["memory_limit_reason"] == "[limits] memory"
    assert stage.reloaded == [None]


def test_a_signal_gets_the_same_without_an_answer(stage: Stage) -> None:
    answers = len(stage.answers)
    stage.loop.turn([Reread(written(stage, '[solver]\nobjective = "min-latency"'))])
    assert len(stage.answers) == answers
    assert stage.ask(ShowPlan(4)).result["objective"] == MIN_LATENCY
    assert stage.reloaded == [None]


def test_what_needs_a_restart_is_named_each_time_and_not_applied(stage: Stage) -> None:
    new = replace(stage.config, engine=replace(stage.config.engine, lanes=2))
    for _ in range(2):
        stage.loop.turn([Reread(new, RELOAD)])
        result = stage.answers[-1].result
        assert result["restart"] == [{"section": "engine", "key": "lanes", "before": "1", "after": "2"}]
        assert (result["applied"], result["sentence"]) == ([], "")
    assert stage.loop.plan.number == 1, "nothing to plan for"
    assert {after.engine.lanes for _, after in stage.reconfigured} == {1}


def test_others_are_told_what_was_before_and_what_is_now(stage: Stage) -> None:
    new = replace(stage.config, log=replace(stage.config.log, level="debug"))
    stage.loop.turn([Reread(new, RELOAD)])
    assert stage.reconfigured == [(stage.config, new)]
    assert stage.answers[-1].result["sentence"] == ""
    stage.loop.turn([Reread(new, RELOAD)])
    assert stage.answers[-1].result["applied"] == [], "it is in force already"


def test_a_bad_configuration_changes_nothing_and_says_why(stage: Stage) -> None:
    error = ConfigError("board.toml: [limits] utilisation: 7 is out of range")
    stage.loop.turn([Reread(error, RELOAD)])
    answer = stage.answers[-1]
    assert isinstance(answer, Failure)
    assert (answer.id, answer.code, answer.message) == (3, Code.BAD_VALUE, str(error))
    assert stage.reconfigured == []
    assert stage.reloaded == [error]
    assert stage.loop.plan.number == 1


def test_every_reload_is_an_event(stage: Stage) -> None:
    stage.loop.turn([Reread(written(stage, '[log]\nlevel = "debug"\n[engine]\nlanes = 2'))])
    stage.loop.turn([Reread(ConfigError("board.toml: is not TOML"))])
    good, bad = (event.body for event in stage.events if event.kind == "reload")
    assert good == {
        "applied": ['[log] level "info" -> "debug"'],
        "restart": ["[engine] lanes 1 -> 2"],
        "error": None,
    }
    assert bad == {"applied": [], "restart": [], "error": "board.toml: is not TOML"}


def test_an_operators_objective_stands_over_a_reload(stage: Stage) -> None:
    stage.ask(Objective(3, "max-fairness"))
    stage.loop.turn([Reread(written(stage, '[solver]\nobjective = "min-latency"'), RELOAD)])
    assert stage.ask(Objective(4)).result["objective"] == "max-fairness"


def test_damping_follows_the_configuration(stage: Stage) -> None:
    stage.loop.turn([Reread(written(stage, "min_gain = 0.25"))])
    assert stage.loop._planner.settings.damping.min_gain == 0.25


def test_heat_and_squeezes_follow_the_configuration() -> None:
    watch = BoardWatch(LIMITS)
    stage = Stage(board=watch)
    new = replace(stage.config, limits=replace(stage.config.limits, heat_margin_c=None))
    stage.loop.turn([Reread(new)])
    assert watch._configured == new.limits
    stage.switcher.close()


def test_a_plan_that_fails_does_not_take_back_what_is_in_force(stage: Stage) -> None:
    stage.solver.broken = True
    new = replace(stage.config, limits=replace(stage.config.limits, memory_bytes=5 * MB))
    stage.loop.turn([Reread(new, RELOAD)])
    assert stage.answers[-1].result["applied"]
    assert stage.reconfigured[-1][1].limits.memory_bytes == 5 * MB


def test_who_asked_for_a_reload_that_comes_too_late_can_be_refused() -> None:
    other = Asked(Status(1), b"other")
    assert answerable([Reread(Config(), RELOAD), Reread(Config()), other]) == [RELOAD, other]
