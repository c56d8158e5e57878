"""What a scene comes to, of stories that are made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.optimizer.solvers import make_solver
from schedulerd.scenes.cast import Role
from schedulerd.scenes.document import document, lines
from schedulerd.scenes.figures import Kept, figures, marks
from schedulerd.scenes.hindsight import Decided, best_plans, weighted
from schedulerd.scenes.record import AppRecord, AppSeen, Best, Deed, Lost, PlanSeen, Reading, Sample, Story, Turn
from schedulerd.scenes.script import Action, Budget, Hogs, Ramp
from tests.optimizer.problems import two_apps

FULL, SMALL = ("original",), ("small",)


def frame(at_s: float, met: bool = True) -> Sample:
    return Sample(at_s, 5.0, 4.0, 5.0, met, None, 0.9, 1, FULL)


def plan(number: int, at_s: float, accuracy: float, miss_ms: float = 0.0, *, swapped: int = 1) -> PlanSeen:
    apps = {"gate": AppSeen(accuracy, miss_ms, FULL), "shelf": AppSeen(accuracy, 0.0, FULL)}
    return PlanSeen(at_s, number, "cause", "sentence", swapped, 1.0, 2.0, 1e6, 2e6, apps)


HOG = Hogs(1)


def deed(at_s: float, action: Action = HOG, *, counts_from_s: float | None = None, worse: bool = True) -> Deed:
    return Deed(at_s, action, "done", at_s if counts_from_s is None else counts_from_s, worse)


def story(
    samples: dict[str, list[Sample]] | None = None,
    plans: tuple[PlanSeen, ...] = (),
    deeds: tuple[Deed, ...] = (),
    turns: tuple[Turn, ...] = (Turn("one", 0.0, ""), Turn("two", 10.0, "", steady=True)),
    best: tuple[Best, ...] = (),
) -> Story:
    seen = samples or {"gate": [frame(1.0)], "shelf": [frame(1.0)]}
    records = tuple(AppRecord(a, "m", tuple(s), len(s), len(s), (), ended=True) for a, s in seen.items())
    roles = (Role("gate", "m", 5.0, 1.0, 8, 0.0, 0), Role("shelf", "m", 5.0, 1.0, 2, 0.0, 1))
    readings = (Reading(0.0, {"cpu_busy": 0.5}, {"clock": 1.0}, 0.1),)
    return Story("t", records, roles, turns, deeds, plans, readings, best, 20.0, 1.0, {"plan": 1}, None, 0)


def test_a_phase_keeps_the_share_of_its_frames() -> None:
    told = figures(story({"gate": [frame(1.0), frame(2.0, met=False), frame(11.0)], "shelf": [frame(9.9)]}))
    assert [p.all for p in told.phases] == [Kept(3, 2), Kept(1, 1)]
    assert told.in_budget == pytest.approx(2 / 3)


def test_a_frame_without_an_answer_was_not_in_time() -> None:
    one = story({"gate": [frame(1.0)]})
    lost = replace(one.records[0], sent=2, errors=(Lost(2.0, "gone"),))
    told = figures(replace(one, records=(lost,)))
    assert told.phases[0].all == Kept(2, 1)
    assert told.lost == 1


def test_frames_that_no_plan_could_have_met_do_not_count_while_all_do() -> None:
    late = {"gate": [frame(s, met=False) for s in (3.5, 5.5, 9.0)], "shelf": [frame(6.0, met=False)]}
    plans = (plan(1, 0.0, 0.9), plan(2, 4.0, 0.8, miss_ms=1.0), plan(3, 8.0, 0.9))
    told = figures(story(late, plans))
    # The first frame waits for the plan that says so, the second runs under it; the third is met by a plan, it says.
    assert told.phases[0].all == Kept(4, 0)
    assert told.phases[0].feasible == Kept(2, 0)


def test_a_plan_for_what_comes_later_excuses_no_frame_before() -> None:
    plans = (plan(1, 0.0, 0.9), plan(2, 4.0, 0.8, miss_ms=1.0))
    told = figures(story({"gate": [frame(3.0, met=False), frame(3.95, met=False)]}, plans, (deed(3.9),)))
    assert told.phases[0].feasible == Kept(1, 0)


def test_a_plan_long_after_excuses_no_frame_before() -> None:
    plans = (plan(1, 0.0, 0.9), plan(2, 8.0, 0.8, miss_ms=1.0))
    told = figures(story({"gate": [frame(3.0, met=False), frame(7.5, met=False)]}, plans))
    assert told.phases[0].feasible == Kept(1, 0)


def test_a_disturbance_is_answered_by_the_next_plan() -> None:
    deeds = (deed(2.0), deed(4.0, Budget("gate")), deed(6.0), deed(8.0, worse=False))
    told = figures(story(None, (plan(1, 0.0, 0.9), plan(2, 2.3, 0.9), plan(3, 4.1, 0.8), plan(4, 8.5, 0.9)), deeds))
    assert [r.ms for r in told.reactions] == [pytest.approx(300.0), pytest.approx(100.0), None]
    assert told.react_p95_ms == pytest.approx(300.0)


def test_a_trend_counts_from_where_it_matters_and_acting_before_takes_no_time() -> None:
    ramp = deed(2.0, Ramp("clock", 0.5), counts_from_s=5.0)
    late, early = (
        figures(story(None, (plan(1, 0.0, 0.9), plan(2, at_s, 0.8)), (ramp,))).reactions for at_s in (5.4, 3.0)
    )
    assert [(r.trend, r.ms) for r in (*late, *early)] == [(True, pytest.approx(400.0)), (True, 0.0)]


def test_a_plan_of_a_steady_phase_is_a_swap_and_answers_no_step() -> None:
    plans = (plan(1, 0.0, 0.9), plan(2, 12.0, 0.8))
    told = figures(story(None, plans, (deed(5.0), deed(6.0, Ramp("clock", 0.5)))))
    assert [r.ms for r in told.reactions] == [None, pytest.approx(6000.0)]
    assert told.steady_swaps == 1


def test_plans_that_change_routes_are_counted_in_steady_phases_only() -> None:
    plans = (plan(1, 5.0, 0.9), plan(2, 12.0, 0.9), plan(3, 14.0, 0.9, swapped=0))
    told = figures(story(None, plans))
    assert (told.steady_s, told.steady_swaps, told.swaps_per_min) == (10.0, 1, 6.0)
    calm = figures(story(None, plans, turns=(Turn("one", 0.0, ""),)))
    assert calm.swaps_per_min is None


def test_accuracy_is_given_up_beside_what_the_phase_settled_on() -> None:
    told = figures(story(None, (plan(1, 0.0, 0.8), plan(2, 5.0, 0.9))))
    assert told.phases[0].accuracy_given_up == pytest.approx(0.05)
    assert told.phases[1].accuracy_given_up == pytest.approx(0.0)
    assert told.accuracy_gap == pytest.approx(0.025)


def test_accuracy_is_given_up_beside_a_better_plan_that_was_never_made() -> None:
    told = figures(story(None, (plan(1, 0.0, 0.8),), best=(Best(0.0, 10.0, 0.95),)))
    assert told.phases[0].accuracy_given_up == pytest.approx(0.15)


def test_what_had_to_be_given_up_is_not_counted() -> None:
    told = figures(story(None, (plan(1, 0.0, 0.9), plan(2, 5.0, 0.7)), (deed(4.5),)))
    assert told.phases[0].accuracy_given_up == pytest.approx(0.0)


def test_apps_weigh_by_their_priority() -> None:
    assert weighted({"gate": 1.0, "shelf": 0.5}, {"gate": 8, "shelf": 2}) == pytest.approx(0.9)
    assert weighted({}, {}) == 0.0


def test_hindsight_solves_the_last_problem_of_each_stretch() -> None:
    roomy, tight = two_apps(), two_apps(memory_bytes=1)
    decided = [Decided(1.0, tight), Decided(2.0, roomy), Decided(11.0, tight)]
    first, second = best_plans(decided, (0.0, 10.0, 20.0, 30.0), make_solver("highs", 2.0))
    assert (first.begin_s, first.end_s, second.begin_s) == (0.0, 10.0, 10.0)
    assert first.accuracy > second.accuracy


def test_a_story_is_told_whole() -> None:
    one = story(None, (plan(1, 0.0, 0.9), plan(2, 2.5, 0.8)), (deed(2.0),))
    counted = figures(one)
    told = document(one, counted)
    assert marks(one) == (0.0, 2.0, 10.0, 20.0)
    assert told["requests"]["gate"] == [[1.0, 4.0, 5.0, 5.0, True, 0.9, 1, "original", "final"]]
    assert len(told["request_columns"]) == len(told["requests"]["gate"][0])
    assert [p["number"] for p in told["plans"]] == [1, 2]
    assert told["deeds"] == [{"at_s": 2.0, "what": "done", "counts_from_s": 2.0}]
    assert told["figures"]["reactions"] == [{"what": "done", "trend": False, "ms": pytest.approx(500.0)}]
    assert told["phases"][0]["in_budget"] == 1.0
    text = "\n".join(lines(counted))
    assert "1 of 1 disturbances led to a plan, p95 500 ms" in text
    assert "0 requests lost" in text
