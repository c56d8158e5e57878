"""The planner: what goes into a problem, what comes of a decision, and what is remembered between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from blockprofiles.contention import Slowdown
from schedulerd.config import LimitsConfig
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.factors import Factors
from schedulerd.control.planner import PREDICT_EVERY_S, SWAP_COST, Planner, PlannerSettings, Proposal
from schedulerd.control.policies import Observed
from schedulerd.control.snapshot import Snapshot
from schedulerd.control.switcher import Switcher
from schedulerd.optimizer.damping import DampingSettings
from schedulerd.optimizer.objectives import MAX_ACCURACY, MIN_LATENCY
from schedulerd.optimizer.problem import MAX_APPS, Limits, Problem
from schedulerd.plan import App, Plan, difference
from schedulerd.serving.apps import LiveApp, Registry
from tests.control.stage import MB, MODEL, ROWS, FickleSolver
from tests.control.tables import table_of
from tests.fakes import FakeClock
from tests.serving.parts import FRAME, LOGITS, AddBlock

ROOM = Limits(memory_bytes=100 * MB)
PLAIN = Factors()


class Desk:
    """A planner with everything that it asks; `settle` does what the loop does with a plan."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registry = Registry(MAX_APPS)
        self.switcher = Switcher(lambda *_: AddBlock(), lambda _: AddBlock(), self.clock, lambda: None)
        self.recorded: list[tuple[Problem, Plan]] = []
        self.asked: list[str] = []
        self.faulty = False
        self.planner = Planner(
            Catalogue({"m": MODEL}, table_of(*ROWS), "onnxruntime"),
            self.registry,
            self.switcher,
            self._observed,
            FickleSolver(),
            PlannerSettings(LimitsConfig(memory_bytes=90 * MB), lanes=1, damping=DampingSettings()),
            self.clock,
            lambda problem, plan: self.recorded.append((problem, plan)),
        )

    def _observed(self, app_id: str) -> Observed | None:
        self.asked.append(app_id)
        if self.faulty:
            raise ZeroDivisionError
        return None

    def join(self, name: str = "cam", budget_ms: float = 50.0) -> LiveApp:
        app = LiveApp(App(name, "m", budget_ms, 10.0), name.encode(), FRAME, LOGITS)
        self.registry.add(app)
        return app

    def propose(self, factors: Factors = PLAIN, *, urgent: bool = True) -> Proposal:
        return self.planner.propose(ROOM, factors, urgent=urgent)

    def settle(self) -> None:
        plan = self.propose().plan
        apps = {app.spec.app_id: app for app in self.registry.all()}
        changes = difference(self.planner.plan, plan)
        self.switcher.apply(plan, changes, apps, ROOM.memory_bytes, self.planner.catalogue)
        self.planner.adopt(plan, self.clock.now_s())


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.switcher.close()


def route(plan: Plan, app_id: str = "cam") -> str:
    planned = plan.app(app_id)
    assert planned is not None
    return "".join(planned.route.digests)


# The problem.


def test_before_anybody_runs_anything_nothing_is_running_and_nothing_in_memory(desk: Desk) -> None:
    desk.join()
    problem = desk.planner.problem(ROOM, PLAIN)
    assert [(a.app.app_id, a.running) for a in problem.apps] == [("cam", None)]
    assert (problem.resident, problem.limits) == (frozenset(), ROOM)
    assert (problem.objective, problem.swap_cost) == (MAX_ACCURACY, SWAP_COST)


def test_what_an_app_runs_and_what_is_kept_warm_is_in_the_next_problem(desk: Desk) -> None:
    app = desk.join()
    desk.settle()
    app.spec = replace(app.spec, budget_ms=3.0)
    desk.settle()
    problem = desk.planner.problem(ROOM, PLAIN)
    running = problem.apps[0].running
    assert running is not None
    assert running.digests == ("a", "b")
    assert problem.resident == {"A", "B", "a", "b"}


def test_an_app_that_came_back_under_its_name_runs_nothing_yet(desk: Desk) -> None:
    desk.join()
    desk.settle()
    desk.planner.plan = desk.planner.plan.without("cam")
    assert desk.planner.problem(ROOM, PLAIN).apps[0].running is None


def test_times_are_those_of_the_given_factors(desk: Desk) -> None:
    desk.join()
    (cam,) = desk.planner.problem(ROOM, Factors(Slowdown(2.0, 3.0))).apps
    assert [(o.latency_ms, o.latency_p95_ms) for o in cam.blocks[0]] == [(10.0, 15.0), (2.0, 3.0)]


def test_every_app_is_asked_about_what_its_frames_did_at_exits(desk: Desk) -> None:
    desk.join("door")
    desk.join("cam")
    desk.planner.problem(ROOM, PLAIN)
    assert desk.asked == ["cam", "door"]


def test_an_app_without_a_usable_block_is_left_out(desk: Desk) -> None:
    desk.join()
    desk.planner.leave_out({"A", "a"})
    assert desk.planner.problem(ROOM, PLAIN).apps == ()


def test_the_operators_limit_is_one_of_the_limits(desk: Desk) -> None:
    snapshot = Snapshot(at_s=0.0, cpu_count=2)
    assert desk.planner.limits(snapshot).limits.memory_bytes == 90 * MB
    desk.planner.operator_memory_bytes = 7 * MB
    assert desk.planner.limits(snapshot).limits.memory_bytes == 7 * MB


# Decisions.


def test_a_proposal_says_what_was_solved_and_whether_to_change(desk: Desk) -> None:
    desk.join()
    proposal = desk.propose()
    assert (route(proposal.plan), proposal.plan.number, proposal.decision.change) == ("AB", 1, True)
    assert [a.app.app_id for a in proposal.problem.apps] == ["cam"]
    assert proposal.at_s == desk.clock.now_s()
    assert desk.planner.plan.number == 0, "putting it in place is somebody else's"


def test_every_decision_is_recorded_whether_or_not_its_plan_is_taken(desk: Desk) -> None:
    desk.join()
    desk.settle()
    kept = desk.propose(urgent=False)
    assert not kept.decision.change
    assert [plan.number for _, plan in desk.recorded] == [1, 2]
    assert desk.recorded[-1] == (kept.problem, kept.plan)
    assert desk.planner.decisions == 2


def test_what_nobody_asked_for_waits_until_the_plan_has_stood_for_a_while(desk: Desk) -> None:
    app = desk.join(budget_ms=3.0)
    desk.settle()
    app.spec = replace(app.spec, budget_ms=50.0)
    assert not desk.propose(urgent=False).decision.change
    desk.clock.advance(2.0)
    assert desk.propose(urgent=False).decision.change


def test_the_objective_is_the_operators(desk: Desk) -> None:
    desk.join()
    desk.planner.operator_objective = MIN_LATENCY
    proposal = desk.propose()
    assert (proposal.problem.objective, proposal.plan.objective) == (MIN_LATENCY, MIN_LATENCY)
    assert route(proposal.plan) == "ab"


def test_the_same_problem_has_the_same_plan_whatever_was_decided_in_between(desk: Desk) -> None:
    app = desk.join(budget_ms=8.0)
    before = desk.propose()
    app.spec = replace(app.spec, budget_ms=3.0)
    desk.propose()
    app.spec = replace(app.spec, budget_ms=8.0)
    after = desk.propose()
    assert after.problem == before.problem
    assert route(after.plan) == route(before.plan)


# Predictions.


def test_the_running_routes_are_predicted_for_the_board_as_it_is(desk: Desk) -> None:
    desk.join()
    desk.settle()
    desk.planner.predict_anew(ROOM, Factors(Slowdown(1.5, 1.5)), asked=True)
    assert desk.planner.plan.apps[0].latency_ms == pytest.approx(15.0)
    assert (desk.planner.plan.number, route(desk.planner.plan)) == (1, "AB")


def test_where_the_board_is_what_it_was_nothing_is_predicted_anew(desk: Desk) -> None:
    desk.join()
    desk.settle()
    slow = Factors(Slowdown(1.5, 1.5))
    desk.planner.predict_anew(ROOM, slow, asked=True)
    predicted = desk.planner.plan
    desk.planner.predict_anew(ROOM, slow, asked=True)
    assert desk.planner.plan is predicted


def test_a_board_that_moves_is_followed_now_and_then_where_nobody_asks(desk: Desk) -> None:
    desk.join()
    desk.settle()
    desk.planner.predict_anew(ROOM, Factors(Slowdown(1.5, 1.5)), asked=False)  # the plan is new
    desk.planner.predict_anew(ROOM, Factors(Slowdown(2.0, 2.0)), asked=False)
    assert desk.planner.plan.apps[0].latency_ms == pytest.approx(15.0)
    desk.planner.predict_anew(ROOM, Factors(Slowdown(1.8, 1.8)), asked=True)
    assert desk.planner.plan.apps[0].latency_ms == pytest.approx(18.0)
    desk.clock.advance(PREDICT_EVERY_S)
    desk.planner.predict_anew(ROOM, Factors(Slowdown(2.0, 2.0)), asked=False)
    assert desk.planner.plan.apps[0].latency_ms == pytest.approx(20.0)


def test_a_plan_with_a_route_that_is_not_offered_any_more_stays_as_it_was_predicted(desk: Desk) -> None:
    desk.join()
    desk.settle()
    before = desk.planner.plan
    desk.planner.leave_out({"A"})
    desk.planner.predict_anew(ROOM, Factors(Slowdown(1.5, 1.5)), asked=True)
    assert desk.planner.plan is before


def test_a_fault_while_predicting_leaves_what_was_predicted_last(desk: Desk) -> None:
    desk.join()
    desk.settle()
    before, desk.faulty = desk.planner.plan, True
    desk.planner.predict_anew(ROOM, Factors(Slowdown(1.5, 1.5)), asked=True)
    assert desk.planner.plan is before
    desk.faulty = False
    desk.planner.predict_anew(ROOM, Factors(Slowdown(2.0, 2.0)), asked=True)
    assert desk.planner.plan.apps[0].latency_ms == pytest.approx(20.0)


# What there is to choose from.


def test_blobs_that_a_newer_profile_lacks_are_offered_no_more_and_still_have_a_size(desk: Desk) -> None:
    desk.join()
    desk.planner.use_table(table_of(*(row for row in ROWS if row.digest != "A")))
    (cam,) = desk.planner.problem(ROOM, PLAIN).apps
    assert [o.digest for o in cam.blocks[0]] == ["a"]
    assert desk.planner.catalogue.size_bytes("A") == 4 * MB
