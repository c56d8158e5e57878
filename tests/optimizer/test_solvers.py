"""Both solvers read PuLP's statuses right, print nothing, do not raise, and are not waited for without end."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pulp
import pytest

from schedulerd.errors import ConfigError
from schedulerd.optimizer.solvers import Answer, Cbc, Highs, Solver, Watched, make_solver
from schedulerd.optimizer.watch import Watch

SOLVERS: list[Solver] = [Highs(10.0), Cbc(10.0)]


def knapsack(items: int = 12, rows: int = 4, seed: int = 1) -> pulp.LpProblem:
    """Take the most valuable items, minimised as a loss, under several weights."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    program = pulp.LpProblem("knapsack", pulp.LpMinimize)
    takes = [program.add_variable(f"take_{i}", 0, 1, pulp.LpInteger) for i in range(items)]
    for row in range(rows):
        weight = pulp.LpAffineExpression([(t, float(rng.randint(10, 99))) for t in takes])
        program.addConstraint(pulp.LpConstraint(weight, pulp.LpConstraintLE, f"weight:{row}", 25.0 * items))
    program.setObjective(pulp.LpAffineExpression([(t, -float(rng.randint(10, 99))) for t in takes]))
    return program


@pytest.mark.parametrize("solver", SOLVERS, ids=["highs", "cbc"])
def test_an_optimum_comes_with_its_bound(solver: Solver, capfd: pytest.CaptureFixture[str]) -> None:
    program = knapsack()
    answer = solver.run(program, 10.0, feasible=False)
    assert answer.outcome == "optimal"
    assert answer.bound == pytest.approx(pulp.value(program.objective))
    assert answer.seconds > 0
    assert capfd.readouterr() == ("", "")


def test_the_program_that_highs_gets_in_arrays_is_the_one_that_pulp_built() -> None:
    """Free, fixed and integer variables, rows of all three senses, and a row without terms; CBC reads PuLP's file."""
    values = []
    for solver in SOLVERS:
        program = pulp.LpProblem("mixed", pulp.LpMinimize)
        free = program.add_variable("free")
        whole = program.add_variable("whole", -3, 8, pulp.LpInteger)
        fixed = program.add_variable("fixed", 2, 2)
        program.setObjective(2 * free + 3 * whole + fixed + 5)
        program.addConstraint(free + 2 * whole >= 3.5, "at_least")
        program.addConstraint(free - fixed <= 4, "at_most")
        program.addConstraint(free - 3 * whole == 1, "exactly")
        program.addConstraint(pulp.LpConstraint(pulp.LpAffineExpression(), pulp.LpConstraintLE, "empty", 1.0))
        assert solver.run(program, 10.0, feasible=True).outcome == "optimal"
        values.append((free.varValue, whole.varValue, fixed.varValue))
    assert values[0] == pytest.approx(values[1]) == (4.0, 1.0, 2.0)


@pytest.mark.parametrize("solver", SOLVERS, ids=["highs", "cbc"])
@pytest.mark.parametrize("feasible", [False, True])
def test_infeasible_is_an_answer(solver: Solver, feasible: bool) -> None:
    program = knapsack()
    takes = program.variables()
    program.addConstraint(takes[0] + takes[1] >= 3, "impossible")
    assert solver.run(program, 10.0, feasible=feasible).outcome == "infeasible"


@pytest.mark.parametrize("solver", SOLVERS, ids=["highs", "cbc"])
def test_no_time_is_never_called_optimal(solver: Solver) -> None:
    """Both write "Optimal" over what they had when the time was up; a program this size takes minutes."""
    answer = solver.run(knapsack(items=200, rows=25), 0.3, feasible=False)
    assert answer.outcome in ("time_limit", "failed")
    assert answer.outcome == "time_limit" or answer.reason


def test_highs_proves_a_bound_of_its_incumbent() -> None:
    program = knapsack(items=200, rows=25)
    answer = Highs(10.0).run(program, 0.5, feasible=False)
    assert answer.outcome == "time_limit"
    assert answer.bound is not None
    assert answer.bound <= pulp.value(program.objective)


def test_solvers_are_named_in_the_configuration() -> None:
    assert make_solver("highs", 0.5).time_limit_s == 0.5
    assert make_solver("cbc", 0.25).time_limit_s == 0.25
    assert isinstance(make_solver("highs", 0.5), Watched)
    assert isinstance(make_solver("cbc", 0.5), Cbc)
    with pytest.raises(ConfigError, match="'glpk'; it is one of cbc, highs"):
        make_solver("glpk", 0.5)


# A solver that is missing.

WITHOUT_HIGHS = """
import sys
sys.modules["highspy"] = None  # an import of it fails, as where it is not installed
from schedulerd.optimizer.solve import solve
from schedulerd.optimizer.solvers import Cbc, Highs, make_solver
from tests.optimizer.problems import random_problem
told = []
solver = make_solver("highs", 5.0, told.append)
print(type(solver).__name__, *told, sep="|")
problem = random_problem(1)
for one in (solver, Cbc(5.0, path="/nowhere/cbc"), Highs(5.0)):
    plan = solve(problem, one, 1)
    print(plan.status, len(plan.apps), plan.note, sep="|")
"""


def test_a_machine_without_highs_plans_with_cbc_and_one_without_either_still_plans() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", WITHOUT_HIGHS]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    chosen, with_cbc, with_none, unusable = (line.split("|") for line in ran.stdout.splitlines())
    assert chosen[0] == "Cbc"
    assert "install highspy" in chosen[1]
    assert with_cbc == ["optimal", with_cbc[1], ""]
    assert with_none[1] == with_cbc[1]
    assert with_none[0] == "greedy"
    assert with_none[2] == "cannot run /nowhere/cbc: No such file or directory; install CBC, or choose highs"
    assert unusable[0] == "greedy"
    assert "Not Available" in unusable[2]


# A solver that hangs.


class Stuck:
    """A solver that ignores its time limit until it is freed; then it has an optimum."""

    time_limit_s = 0.5

    def __init__(self) -> None:
        self.freed = threading.Event()
        self.runs = 0

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> Answer:
        self.runs += 1
        self.freed.wait(30)
        return Answer("optimal")


class Patience:
    """Waits no time at all, unless `patient`; keeps what it was to wait for."""

    def __init__(self) -> None:
        self.patient = False
        self.waited: list[tuple[threading.Event, float]] = []

    def __call__(self, ended: threading.Event, timeout_s: float) -> bool:
        self.waited.append((ended, timeout_s))
        return ended.wait(30) if self.patient else False


def test_a_solver_that_does_not_come_back_is_given_up_and_not_called_again_before_it_has() -> None:
    stuck, patience = Stuck(), Patience()
    solver = Watched(stuck, Watch("the fake", patience))
    answer = solver.run(knapsack(), 0.5, feasible=True)
    assert answer == Answer("failed", reason="the fake has not come back within 1.5 s")
    again = solver.run(knapsack(), 0.5, feasible=True)
    assert again == Answer("failed", reason="the fake has not come back from an earlier call")
    assert stuck.runs == 1
    stuck.freed.set()
    (ended, timeout_s) = patience.waited[0]
    assert ended.wait(30)
    patience.patient = True
    assert solver.run(knapsack(), 0.5, feasible=True).outcome == "optimal"
    assert (stuck.runs, timeout_s) == (2, 1.5)


# CBC as a process: what a broken one does is what a script in its place does.


def cbc(folder: Path, script: str, time_limit_s: float = 5.0, grace_s: float = 5.0) -> tuple[Answer, Path]:
    """What a program that is no CBC makes of a program."""
    path = folder / "cbc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    solver = Cbc(time_limit_s, str(path), grace_s)
    return solver.run(knapsack(), time_limit_s, feasible=True), path


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "ended with exit code 3"),
        ("kill -SEGV $$", "crashed with SIGSEGV"),
        ("exit 0", "wrote no solution"),
        ('eval "last=\\${$#}"; echo Optimal > "$last"; echo "0 X0 much" >> "$last"', "IndexError: "),
    ],
)
def test_a_broken_cbc_is_an_answer_with_a_reason(tmp_path: Path, script: str, said: str) -> None:
    answer, _ = cbc(tmp_path, script)
    assert answer.outcome == "failed"
    assert said in answer.reason


def test_a_cbc_that_ignores_its_time_limit_is_killed(tmp_path: Path) -> None:
    answer, path = cbc(tmp_path, 'trap "" TERM; exec tail -f "$0"', time_limit_s=0.05, grace_s=0.05)
    assert answer == Answer("failed", reason=f"{path} had not ended after 0.1 s, and was killed")
    assert str(path).encode() not in b"".join(map(_command_line, Path("/proc").glob("[0-9]*")))


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def test_a_failed_cbc_leaves_no_files_behind(tmp_path: Path) -> None:
    """The program that it is given lies in a folder of its own, whose name the script tells."""
    answer, path = cbc(tmp_path, 'dirname "$1" > "$0.folder"; exit 1')
    assert answer.outcome == "failed"
    folder = Path(path.with_name("cbc.folder").read_text().strip())
    assert folder.is_absolute()
    assert not folder.exists()
