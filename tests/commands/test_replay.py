"""`schedulerd replay`: what people and programs read, and the exit codes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedulerd import cli
from schedulerd.commands import replay
from schedulerd.commands.replay_output import Replayed, Result
from schedulerd.control.recorder import FILE_NAME, Recorder
from schedulerd.errors import SchedulerdError
from schedulerd.optimizer.choice import choose
from schedulerd.optimizer.predict import plan_of
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import make_solver
from schedulerd.optimizer.validate import BadProblem
from schedulerd.optimizer.verdict import judged
from schedulerd.plan import Plan
from tests.fakes import FakeClock
from tests.optimizer.problems import two_apps

ROOMY = two_apps()
TIGHT = two_apps(memory_bytes=15_000_000)
Decision = tuple[Problem, Plan]


def best(problem: Problem, number: int) -> Decision:
    return problem, solve(problem, make_solver("highs", 5.0), number)


def least(problem: Problem, number: int) -> Decision:
    """A plan of the least accurate routes."""
    return problem, plan_of(choose(problem, [(2, 2, 2), (2, 2, 2)]), number)


def boasting(problem: Problem, number: int) -> Decision:
    """The most accurate routes, although they need more memory than there is, with no word about it."""
    return problem, replace(plan_of(choose(problem, [(0, 0, 0), (0, 0, 0)]), number), broken=())


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Path]:
    """Writes decisions to a ring file."""

    def write(*decisions: Decision) -> Path:
        recorder = Recorder(tmp_path, 10**6, FakeClock())
        for problem, plan in decisions:
            recorder.record(problem, plan)
        return tmp_path / FILE_NAME

    return write


class _Shell:
    """Runs the command as `schedulerd` does."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, file: Path, *options: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        replay.add_parser(parser.add_subparsers())
        chosen = parser.parse_args(["replay", str(file), "--time-limit", "20", *options])
        self._capsys.readouterr()
        return chosen.run(chosen), self._capsys.readouterr().out

    def json(self, file: Path, *options: str) -> tuple[int, Any]:
        code, out = self.run(file, *options, "--json")
        return code, json.loads(out)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> _Shell:
    """The command."""
    return _Shell(capsys)


def verdicts(document: Any) -> list[str]:
    return [decision["verdict"] for decision in document["decisions"]]


@pytest.mark.parametrize("solver", ["highs", "cbc"])
def test_the_same_plans_come_of_the_same_problems(recorded: Callable[..., Path], shell: _Shell, solver: str) -> None:
    code, document = shell.json(recorded(best(ROOMY, 1), best(TIGHT, 2)), "--solver", solver)
    assert (code, document["holds"], document["solver"]) == (0, True, solver)
    assert [d["before"]["plan"]["number"] for d in document["decisions"]] == [1, 2]
    assert all(verdict in ("same", "equal") for verdict in verdicts(document))
    for decision in document["decisions"]:
        before, after = decision["before"], decision["after"]
        assert before["faults"] == after["faults"] == []
        assert before["objective_values"] == pytest.approx(after["objective_values"], abs=1e-5)


def test_a_better_plan_is_shown_app_by_app(recorded: Callable[..., Path], shell: _Shell) -> None:
    code, out = shell.run(recorded(least(ROOMY, 7)))
    assert code == 0
    assert "plan 7: cam cam0v2|cam1v2|cam2v2 -> cam0v0|cam1v0|cam2v0" in out
    assert "plan 7: door " in out
    assert "0.9333 -> 1.0000" in out
    assert out.splitlines()[-1].startswith("1 decision made again with highs: 1 better; median ")


@pytest.mark.parametrize(
    ("now", "faults", "name"),
    [(least(TIGHT, 1), (), "worse"), (boasting(TIGHT, 1), ("memory: too much",), "faulty")],
)
def test_a_result_does_not_hold_where_a_new_plan_is_worse_or_may_not_be_applied(
    now: Decision, faults: tuple[str, ...], name: str
) -> None:
    problem, plan = best(TIGHT, 1)
    before, after = judged(problem, plan, ()), judged(problem, now[1], faults)
    same = Replayed(0.0, problem.objective, before, before)
    result = Result("file", "highs", 0.5, (same, Replayed(0.0, problem.objective, before, after)))
    assert not result.holds()
    assert not result.document()["holds"]
    lines = list(result.lines())
    assert lines[2].endswith(f" {name}")
    assert f"2 decisions made again with highs: 1 same, 1 {name}; " in lines[-1]
    assert all(f"plan 1 (2 of 2), now: may not be applied: {fault}" in lines for fault in faults)


def test_a_recorded_plan_that_broke_a_limit_is_named_and_nothing_is_worse_than_it(
    recorded: Callable[..., Path], shell: _Shell
) -> None:
    code, out = shell.run(recorded(boasting(TIGHT, 3)))
    assert code == 0
    assert "plan 3, then: may not be applied: memory:" in out
    assert "plan 3, now: may not be applied" not in out


def test_another_objective_holds_for_both_plans(recorded: Callable[..., Path], shell: _Shell) -> None:
    code, document = shell.json(recorded(best(ROOMY, 1)), "--objective", "min-latency")
    (decision,) = document["decisions"]
    assert (code, decision["objective"], decision["verdict"]) == (0, "min-latency", "better")
    assert decision["after"]["objective_values"] < decision["before"]["objective_values"]
    assert decision["after"]["plan"]["weighted_accuracy"] < decision["before"]["plan"]["weighted_accuracy"]


def test_of_several_decisions_for_one_plan_each_is_told_apart(recorded: Callable[..., Path], shell: _Shell) -> None:
    _, out = shell.run(recorded(least(ROOMY, 5), least(ROOMY, 6), least(ROOMY, 5)))
    for name in ("plan 5 (1 of 2)", "plan 6", "plan 5 (2 of 2)"):
        assert f"\n{name}: cam " in out


def test_one_decision_can_be_asked_for(recorded: Callable[..., Path], shell: _Shell) -> None:
    file = recorded(best(ROOMY, 4), best(ROOMY, 5), best(TIGHT, 5))
    _, document = shell.json(file, "--number", "5")
    assert len(document["decisions"]) == 2
    with pytest.raises(SchedulerdError, match="no decision for plan 9; it has some for 4 to 5"):
        shell.run(file, "--number", "9")


def test_a_file_without_decisions_says_how_to_get_some(tmp_path: Path, shell: _Shell) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(SchedulerdError, match=r"holds no decision; set `record` in \[solver\]"):
        shell.run(tmp_path / "empty")


def test_a_problem_that_makes_no_sense_is_named_with_its_plan(recorded: Callable[..., Path], shell: _Shell) -> None:
    twice = replace(ROOMY, apps=(ROOMY.apps[0], ROOMY.apps[0]))
    file = recorded(best(ROOMY, 1), (twice, best(ROOMY, 2)[1]))
    with pytest.raises(BadProblem, match="decision 2 of 2, for plan 2: two apps of one name"):
        shell.run(file)


def test_names_in_a_file_cannot_steer_the_terminal(recorded: Callable[..., Path], shell: _Shell) -> None:
    cam, door = ROOMY.apps
    red = replace(cam, app=replace(cam.app, app_id="\x1b[31mcam"))
    _, out = shell.run(recorded(least(replace(ROOMY, apps=(red, door)), 1)))
    assert "\x1b" not in out
    assert "?[31mcam" in out


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["no-such-file"], 1, "No such file or directory: 'no-such-file'"),
        (["."], 1, "Is a directory: '.'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    options: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["replay", *options]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--time-limit", "0"], ["--time-limit", "nan"], ["--objective", "beauty"]])
def test_wrong_usage_ends_with_2(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["replay", "file", *options])
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err
