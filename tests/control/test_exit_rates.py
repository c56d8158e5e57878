"""Live leave rates: counted per plan, compared with what was expected, kept as a history."""

from __future__ import annotations

import pytest

from schedulerd.control.exit_rates import BIN_S, BINS, History, Seen, drifted, seen_at_exits, shares_of
from schedulerd.serving.meter import Observation


def observation(plan: int, *evaluated: tuple[str, bool]) -> Observation:
    return Observation(0.0, 1.0, 1.0, True, plan=plan, evaluated=evaluated)


def test_only_what_the_present_route_evaluated_counts() -> None:
    seen = seen_at_exits(
        [
            observation(3, ("exit1", True)),
            observation(3, ("exit1", False), ("exit2", True)),
            observation(3, ("exit1", False), ("exit2", False)),
            observation(2, ("exit1", True)),
            observation(3),
        ],
        plan=3,
    )
    assert seen == {"exit1": Seen(3, 1), "exit2": Seen(2, 1)}
    assert seen["exit2"].rate == 0.5


@pytest.mark.parametrize(
    ("expected", "seen", "is_off"),
    [
        (0.6, Seen(100, 60), False),
        (0.6, Seen(100, 30), True),
        (0.6, Seen(39, 0), False),  # too few frames to say anything
        (0.6, Seen(400, 215), False),  # significant by count, but too little to change a plan
        (0.5, Seen(40, 26), False),  # 15 points, which 40 frames show by chance
        (0.0, Seen(100, 50), True),  # an exit that nobody was expected to take
        (1.0, Seen(100, 99), False),
    ],
)
def test_a_rate_has_drifted_when_it_is_off_by_more_than_chance_and_by_enough(
    expected: float, seen: Seen, is_off: bool
) -> None:
    assert drifted({"exit1": expected}, {"exit1": seen}) == (["exit1"] if is_off else [])


def test_an_exit_that_no_frame_came_to_has_not_drifted() -> None:
    assert drifted({"exit1": 0.5}, {}) == []


def test_shares_leave_out_what_did_not_happen() -> None:
    assert shares_of({"exit1": 3, "final": 1, "exit2": 0}) == {"exit1": 0.75, "final": 0.25}
    assert shares_of({}) == {}


def test_a_history_has_a_bin_for_each_stretch_and_forgets_the_oldest() -> None:
    history = History().after({"final": 100}, now_s=10.0)
    assert history.bins == ()
    assert history.after({"final": 105}, now_s=10.0 + BIN_S / 2) is history
    history = history.after({"final": 110, "exit1": 30}, now_s=10.0 + BIN_S)
    assert history.bins[-1].as_map(now_s=20.0) == {
        "ago_s": 5.0,
        "frames": 40,
        "shares": {"final": 0.25, "exit1": 0.75},
    }
    for number in range(2, BINS + 5):
        history = history.after({"final": 110, "exit1": 30 + number}, now_s=10.0 + number * BIN_S)
    assert len(history.bins) == BINS
    assert history.bins[0].until_s > 10.0 + BIN_S
