"""`schedulerd replay`: solve recorded decisions again, and compare what comes of them with what was found then."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from schedulerd.config import SolverConfig
from schedulerd.optimizer.objectives import OBJECTIVES

if TYPE_CHECKING:
    from schedulerd.clock import Clock
    from schedulerd.commands.replay_output import Replayed
    from schedulerd.control.recorder import Recorded
    from schedulerd.optimizer.solvers import Solver

DEFAULTS = SolverConfig()


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `replay` and its options."""
    help_ = "solve recorded decisions again and compare the plans"
    source = "A daemon with `record` in [solver] of its configuration writes the file."
    description = f"{help_}; exit code 1 when a new plan is worse. {source}"
    parser = subparsers.add_parser("replay", help=help_, description=description)
    parser.add_argument("file", type=Path, metavar="FILE", help="decisions.jsonl of a state directory, or a copy of it")
    parser.add_argument("--objective", choices=OBJECTIVES, help="for all of them, instead of what each was made for")
    parser.add_argument("--solver", choices=("highs", "cbc"), default=DEFAULTS.name, help="default: %(default)s")
    parser.add_argument(
        "--time-limit",
        type=_seconds,
        default=DEFAULTS.time_limit_s,
        metavar="S",
        help="for one decision, default: %(default)s",
    )
    parser.add_argument("--number", type=int, metavar="N", help="only decisions for the plan of this number")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Solve each decision again and print how it compares; 1 when a new plan is worse, or may not be applied."""
    from schedulerd import logs
    from schedulerd.bar import Bar
    from schedulerd.clock import SystemClock
    from schedulerd.commands.replay_output import Result
    from schedulerd.optimizer.solvers import make_solver

    logs.configure("warning", "auto")
    chosen = _chosen(args.file, args.number)
    solver, replayed = make_solver(args.solver, args.time_limit, partial(print, file=sys.stderr)), []
    with Bar(f"solving again with {args.solver}, at most {args.time_limit:g} s each", sys.stderr) as bar:
        for done, one in enumerate(_replay(chosen, args.objective, solver, SystemClock()), start=1):
            replayed.append(one)
            bar(done / len(chosen))
    result = Result(str(args.file), args.solver, args.time_limit, tuple(replayed))
    print(json.dumps(result.document(), indent=1) if args.json else "\n".join(result.lines()))
    return 0 if result.holds() else 1


def _chosen(file: Path, number: int | None) -> list[Recorded]:
    from schedulerd.control.recorder import read_records
    from schedulerd.errors import SchedulerdError

    recorded = list(read_records(file))
    if not recorded:
        raise SchedulerdError(f"{file} holds no decision; set `record` in [solver] of a daemon's configuration")
    chosen = [one for one in recorded if number in (None, one.plan.number)]
    if not chosen:
        numbers = [one.plan.number for one in recorded]
        between = f"{min(numbers)} to {max(numbers)}"
        raise SchedulerdError(f"{file} has no decision for plan {number}; it has some for {between}")
    return chosen


def _replay(recorded: Sequence[Recorded], objective: str | None, solver: Solver, clock: Clock) -> Iterator[Replayed]:
    """Each decision made again from nothing but its problem: what the daemon kept from one to the next is not there."""
    from schedulerd.commands.replay_output import Replayed
    from schedulerd.optimizer.recheck import violations
    from schedulerd.optimizer.solve import solve
    from schedulerd.optimizer.validate import BadProblem
    from schedulerd.optimizer.verdict import judged

    for position, one in enumerate(recorded, start=1):
        problem = replace(one.problem, objective=objective or one.problem.objective)
        began_s = clock.now_s()
        try:
            plan = solve(problem, solver, one.plan.number)
        except BadProblem as error:
            raise BadProblem(f"decision {position} of {len(recorded)}, for plan {one.plan.number}: {error}") from error
        plan = replace(plan, solve_ms=(clock.now_s() - began_s) * 1e3)
        yield Replayed(
            at_s=one.at_s,
            objective=problem.objective,
            before=judged(problem, one.plan, violations(one.problem, one.plan)),
            after=judged(problem, plan, violations(problem, plan)),
        )


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise argparse.ArgumentTypeError(f"{text} s is no time to solve in; give more than 0")
    return value
