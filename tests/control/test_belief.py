"""A worse board is believed at once, a better one after a while that grows with each disappointment."""

from __future__ import annotations

import pytest

from blockprofiles.contention import Slowdown
from schedulerd.control.belief import Belief, believed, better, replanned, watched, worse
from schedulerd.control.correction import Correction, CorrectionSettings

SETTINGS = CorrectionSettings()


def even(factor: float) -> Slowdown:
    return Slowdown(factor, factor)


@pytest.mark.parametrize(
    ("planned", "now", "expected"),
    [
        (even(1.0), even(1.1), False),
        (even(1.0), Slowdown(1.3, 1.0), True),
        # A high quantile of few requests varies more.
        (even(1.0), Slowdown(1.0, 1.3), False),
        (even(1.0), Slowdown(1.0, 1.4), True),
        (even(2.0), even(1.5), False),
        # Within the profile the promise is the profile's.
        (Slowdown(1.0, 0.6), Slowdown(1.0, 0.9), False),
    ],
)
def test_a_step_up_of_either_kind_is_believed_at_once(planned: Slowdown, now: Slowdown, expected: bool) -> None:
    assert worse(planned, now, SETTINGS) is expected


def looked(belief: Belief, planned: float, slowdown: Slowdown, *at_s: float) -> Belief:
    for second in at_s:
        belief = watched(belief, even(planned), Correction(slowdown, second), SETTINGS)
    return belief


@pytest.mark.parametrize(
    ("slowdown", "until_s", "expected"),
    [
        (even(1.5), 0.9, False),
        (even(1.5), 1.0, True),
        (even(1.8), 9.0, False),
        (Slowdown(1.5, 2.0), 1.0, True),
        (Slowdown(2.0, 1.5), 9.0, False),
        (Slowdown(2.0, 1.4), 1.0, True),
        (Slowdown(1.5, 2.5), 9.0, True),
        (Slowdown(1.5, 2.8), 9.0, False),
    ],
)
def test_a_better_board_is_believed_after_a_while(slowdown: Slowdown, until_s: float, expected: bool) -> None:
    belief = looked(Belief(), 2.0, slowdown, 0.0, until_s)
    assert better(belief, until_s, SETTINGS) is expected


def test_a_look_at_a_loaded_board_begins_the_wait_anew() -> None:
    belief = looked(looked(looked(Belief(), 2.0, even(1.5), 0.0), 2.0, even(2.0), 0.5), 2.0, even(1.5), 0.9, 1.2)
    assert not better(belief, 1.2, SETTINGS)


def test_each_belief_that_came_too_early_makes_the_wait_longer() -> None:
    belief, waits = Belief(), []
    for second in range(0, 70, 10):
        belief = replanned(belief, even(1.5), even(1.2), second, SETTINGS)
        belief = replanned(belief, even(1.2), even(1.5), second + 2.0, SETTINGS)
        waits.append(belief.wait_s)
    assert waits == [4.0, 16.0, 60.0, 60.0, 60.0, 60.0, 60.0]


def test_a_load_that_comes_in_several_steps_is_one_disappointment() -> None:
    belief = replanned(Belief(), even(1.5), even(1.2), 0.0, SETTINGS)
    for second, (before, after) in enumerate([(1.2, 1.5), (1.5, 2.0), (2.0, 3.0)]):
        belief = replanned(belief, even(before), even(after), 2.0 + second, SETTINGS)
    assert belief.wait_s == SETTINGS.backoff * SETTINGS.least_wait_s


def test_a_step_up_long_after_the_last_belief_forgives() -> None:
    belief = replanned(Belief(wait_s=32.0, believed_at_s=0.0), even(1.2), even(1.5), SETTINGS.regret_s, SETTINGS)
    assert belief.wait_s == 0.0


def test_a_plan_for_the_same_board_changes_no_belief() -> None:
    belief = Belief(wait_s=4.0, better_since_s=1.0, believed_at_s=0.0)
    assert replanned(belief, even(1.5), even(1.5), 2.0, SETTINGS) is belief


def test_a_little_worse_than_planned_for_is_no_disappointment() -> None:
    belief = Belief(wait_s=4.0, better_since_s=1.0, believed_at_s=0.0)
    assert replanned(belief, even(1.5), even(1.6), 2.0, SETTINGS) is belief


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (even(2.5), even(2.5)),
        (even(2.1), even(2.1)),
        (even(1.9), even(2.0)),
        (even(1.5), even(2.0)),
        (Slowdown(1.5, 3.0), Slowdown(2.0, 3.0)),
    ],
)
def test_no_plan_is_made_for_a_better_board_before_that_is_believed(now: Slowdown, expected: Slowdown) -> None:
    assert believed(Belief(), even(2.0), Correction(now, 5.0), SETTINGS) == expected


def test_when_a_better_board_is_believed_plans_are_made_for_it() -> None:
    belief = looked(Belief(), 2.0, even(1.5), 0.0, 1.0)
    assert believed(belief, even(2.0), Correction(even(1.5), 1.0), SETTINGS) == even(1.5)
