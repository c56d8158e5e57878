"""Timings with steps, outliers, bursts and drift go through the watch in virtual time: what it concludes, and when."""

from __future__ import annotations

import random

import pytest

from blockprofiles.contention import Contention, Point, Slowdown
from schedulerd.control.factors import Factors
from tests.control.drifting import TICK_S, Drifting, Times, expected_blocks, steady, stepped

CURVES = Contention(
    lanes=(Point(1.0, Slowdown()), Point(2.0, Slowdown(1.4, 1.6))),
    others=(Point(0.0, Slowdown()), Point(1.0, Slowdown(2.0, 3.0))),
)


def noisy(times: Times, seed: int = 0) -> Times:
    """The same within a tenth, and one block in a hundred takes twice as long."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets

    def noise(ms: float) -> float:
        return ms * rng.uniform(0.95, 1.05) * (2.0 if rng.random() < 0.01 else 1.0)

    return lambda at_s: [noise(ms) for ms in times(at_s)]


def test_requests_as_profiled_bring_nothing() -> None:
    board = Drifting()
    board.add("cam", 15.0, noisy(steady(1.0, 1.0, 1.0, 1.0)))
    factors = board.until(60.0)
    assert factors.board.median == pytest.approx(1.0, abs=0.05)
    assert (factors.blobs, board.causes) == ({("cam", n, f"cam{n}"): 1.0 for n in range(4)}, [])


@pytest.mark.parametrize("rate_hz", [15.0, 30.0, 100.0])
def test_a_step_is_followed_within_a_second(rate_hz: float) -> None:
    board = Drifting()
    board.add("cam", rate_hz, noisy(stepped(20.0, 1.5)))
    factors = board.until(21.0)
    assert factors.board.median == pytest.approx(1.5, rel=0.1)
    assert factors.board.p95 == pytest.approx(1.25, rel=0.15), "of a 95th percentile that is a fifth above the median"
    assert board.causes
    assert all(20.0 < at_s <= 21.0 and cause.startswith("blocks run ") for at_s, cause in board.causes)


@pytest.mark.parametrize("rate_hz", [2.0, 15.0, 100.0])
def test_a_single_outlier_changes_nothing(rate_hz: float) -> None:
    board = Drifting()
    board.add("cam", rate_hz, stepped(20.0, 20.0, until_s=20.0 + 1 / rate_hz))
    before = board.until(20.0)
    for tick in range(1, 26):
        assert board.until(20.0 + tick * TICK_S) == before
    assert board.causes == []


def test_a_burst_of_a_quarter_of_a_second_changes_nothing() -> None:
    board = Drifting()
    board.add("cam", 30.0, stepped(20.0, 4.0, until_s=20.2))
    board.until(30.0)
    assert board.causes == []


def test_a_slow_drift_is_followed() -> None:
    """The board gets hot: in a minute from 1 to 2 times its profile."""
    board = Drifting()
    board.add("cam", 15.0, lambda at_s: (1.0 + at_s / 60,) * 4)
    for second in (15, 30, 45, 60):
        assert board.until(float(second)).board.median == pytest.approx(1.0 + second / 60, rel=0.05)
    assert 3 <= len(board.causes) <= 6


def test_a_load_that_has_gone_is_forgotten() -> None:
    board = Drifting()
    board.add("cam", 15.0, stepped(20.0, 2.0, until_s=30.0))
    assert board.until(30.0).board.median == 2.0
    assert board.until(31.2).board.median == 1.0, "what is typical at once"
    assert board.until(32.0).board.p95 > 1.05, "what is promised slowly"
    assert board.until(45.0).board.p95 <= 1.0
    assert board.causes[-1][1].startswith(("blocks run as profiled again", "blocks run 1 times their profile"))


def test_a_load_that_comes_and_goes_brings_ever_fewer_plans() -> None:
    board = Drifting()
    board.add("cam", 30.0, lambda at_s: ((2.0 if at_s % 6.0 < 3.0 else 1.0),) * 4)
    board.until(60.0)
    early = len(board.causes)
    board.until(120.0)
    late = len(board.causes) - early
    assert late < early / 2


def test_a_block_that_is_persistently_off_is_found_and_the_others_stay() -> None:
    board = Drifting()
    board.add("cam", 15.0, noisy(steady(1.0, 1.0, 1.3, 1.0, 1.0, 1.0, 1.0, 1.0)), blocks=8)
    factors = board.until(20.0)
    found = {block: factor for (_, block, _), factor in factors.blobs.items()}
    assert found.pop(2) == pytest.approx(1.25, abs=0.051)
    assert set(found.values()) == {1.0}
    predicted_ms = factors.board.median * (found[0] * 7 + factors.blobs["cam", 2, "cam2"])
    assert predicted_ms == pytest.approx(8.3, rel=0.05)
    assert [text for _, text in board.causes] == [
        f"block 2 of cam takes {factors.blobs['cam', 2, 'cam2']:g} times what its profile and the board's load come to"
    ]


def test_a_block_that_runs_as_predicted_again_is_said_to() -> None:
    board = Drifting()
    board.add("cam", 15.0, lambda at_s: (1.0, 1.0, 1.5 if at_s < 20.0 else 1.0, 1.0, 1.0, 1.0, 1.0, 1.0), blocks=8)
    board.until(60.0)
    texts = [text for _, text in board.causes]
    assert texts[-1] == "block 2 of cam takes again what its profile and the board's load come to"
    assert not any(" 1 times" in text for text in texts)


def test_a_load_does_not_hide_the_block_and_the_block_not_the_load() -> None:
    board = Drifting()
    board.add(
        "cam", 15.0, lambda at_s: [ms * (1.5 if at_s > 20.0 else 1.0) for ms in (1, 1, 1.5, 1, 1, 1, 1, 1)], blocks=8
    )
    before = board.until(20.0)
    after = board.until(21.0)
    assert after.blobs == before.blobs
    assert after.board.median / before.board.median == pytest.approx(1.5, rel=0.05)


def test_beside_other_programs_the_board_is_followed_and_nothing_is_learnt_of_blocks() -> None:
    board = Drifting(cpu_others=lambda at_s: 0.5 if at_s > 20.5 else 0.0)
    board.add("cam", 15.0, lambda at_s: (1.0,) * 4 if at_s <= 20.0 else (2.0, 2.0, 2.0, 4.0))
    before = board.until(20.0)
    after = board.until(60.0)
    assert after.blobs == before.blobs
    assert after.board.median == 2.5


def test_a_better_board_is_believed_soon_once_other_programs_have_gone() -> None:
    """Beside them it looks better now and then, and each belief makes the next one wait longer."""
    board = Drifting(cpu_others=lambda at_s: 0.8 if at_s <= 60.0 else 0.0)
    board.add("cam", 30.0, lambda at_s: (1.0 if at_s > 60.0 or at_s % 12.0 >= 6.0 else 2.0,) * 4)
    board.until(60.0)
    assert board.watch.factors_to_plan().board.median == 2.0
    board.until(62.0)
    assert board.watch.factors_to_plan().board.median == 2.0, "they may be back"
    board.until(66.0)
    assert board.watch.factors_to_plan().board.median == 1.0


def test_what_was_learnt_of_a_block_holds_while_other_programs_come() -> None:
    board = Drifting(cpu_others=lambda at_s: 0.5 if at_s > 20.5 else 0.0)
    board.add("cam", 15.0, lambda at_s: [ms * (1.5 if at_s > 20.0 else 1.0) for ms in (1, 1, 1, 2)], blocks=4)
    before = board.until(20.0)
    assert before.blobs["cam", 3, "cam3"] > 1.2
    assert board.until(25.0).blobs == before.blobs


def test_of_two_apps_each_has_its_own_factors_and_both_the_same_board() -> None:
    """One app's profile is right, the other's was taken on a cooler board: both are predicted within a tenth."""
    board = Drifting()
    board.add("fast", 30.0, steady(1.1, 1.1, 1.1, 1.1))
    board.add("slow", 10.0, steady(1.65, 1.65, 1.65, 1.65))
    factors = board.until(30.0)
    for name, factor in {"fast": 1.0, "slow": 1.5}.items():
        for block in range(4):
            found = factors.board.median * factors.blobs[name, block, f"{name}{block}"]
            assert found == pytest.approx(factor, rel=0.1)


def test_apps_that_take_turns_are_compared_with_what_the_profile_says_of_that() -> None:
    board = Drifting()
    board.add("cam", 15.0, steady(1.1, 1.1, 1.1, 1.1))
    board.add("door", 15.0, steady(1.1, 1.1, 1.1, 1.1))
    assert board.until(10.0).board.median == 1.0
    assert not board.watch.factors().alone


def test_an_app_that_leaves_takes_its_factors_along() -> None:
    board = Drifting()
    board.add("cam", 15.0, steady(1.0, 1.0, 2.0, 1.0))
    board.until(20.0)
    board.watch.forget("cam")
    assert board.watch.factors().blobs == {}


def test_another_profile_makes_what_was_seen_of_blocks_void() -> None:
    board = Drifting()
    board.add("cam", 15.0, steady(1.0, 1.0, 2.0, 1.0))
    board.until(20.0)
    board.watch.profiled_anew()
    assert board.watch.factors().blobs == {}


# Slow apps.


def test_a_slow_app_is_followed_when_most_of_its_newest_requests_are_slow() -> None:
    board = Drifting()
    board.add("cam", 2.0, stepped(20.0, 1.5))
    assert board.until(22.0).board.median == 1.0
    assert board.until(26.0).board.median == 1.5


def test_a_slow_app_is_followed_at_once_where_the_snapshot_shows_why() -> None:
    board = Drifting(contention=CURVES, cpu_others=lambda at_s: 0.5 if at_s > 20.5 else 0.0)
    board.add("cam", 2.0, stepped(20.0, 1.5))
    assert board.until(20.4).board.median == 1.0
    assert board.until(21.2).board.median == pytest.approx(1.5, rel=0.05)
    assert board.causes[0][0] <= 21.2


def test_a_load_that_the_snapshot_shows_and_no_request_feels_is_no_reason() -> None:
    board = Drifting(contention=CURVES, cpu_others=lambda at_s: 0.5 if at_s > 20.5 else 0.0)
    board.add("cam", 2.0, steady(1.0, 1.0, 1.0, 1.0))
    board.until(40.0)
    assert board.causes == []


# Before there is anything to go by.


def test_the_first_app_on_a_busy_board_is_expected_to_be_slow() -> None:
    board = Drifting(contention=CURVES, cpu_others=lambda _: 0.5)
    app = board.add("cam", 15.0, steady(1.0, 1.0, 1.0, 1.0))
    board.look()
    assert board.watch.factors().board == Slowdown(1.5, 2.0)
    assert app.slowdown == 2.0
    assert board.until(2.0).board.median == 1.0, "and seen to be quick"


def test_a_board_that_nobody_uses_is_as_its_company() -> None:
    board = Drifting(contention=CURVES, cpu_others=lambda at_s: 0.5 if at_s > 40.0 else 0.0)
    board.sources.clear()
    board.add("cam", 15.0, lambda at_s: (2.0,) * 4)
    board.until(5.0)
    board.sources[0].rate_hz = 1e-9
    assert board.until(30.0).board.median == 1.0
    assert board.until(45.0).board.median == 1.5


def test_several_lanes_are_in_each_others_way() -> None:
    board = Drifting(lanes=2, contention=CURVES)
    for name in ("cam", "door"):
        board.add(name, 1e-9, steady(1.0, 1.0, 1.0, 1.0))
    board.look()
    assert board.watch.factors().board == Slowdown(1.0, 1.6), "nobody is busy yet, but both may be"


# What apps are told, and the clock.


def test_the_late_policies_are_told_the_factor_of_the_route() -> None:
    board = Drifting()
    app = board.add("cam", 15.0, steady(1.2, 1.2, 2.4, 1.2))
    board.until(20.0)
    # The sums are 6.0 and 4.8 ms; the third block is 1.6 times as slow as the board, the others 0.8 times.
    assert board.watch.board.p95 == pytest.approx(6.0 / 4.8)
    assert app.slowdown == pytest.approx((3 * 1.0 + 2.0) / 4, rel=0.05)
    app.route = None
    board.look()
    assert app.slowdown == pytest.approx(6.0 / 4.8)


def test_a_leap_of_the_clock_leaves_nothing_behind() -> None:
    """The board was suspended for an hour."""
    board = Drifting()
    app = board.add("cam", 15.0, stepped(0.0, 2.0))
    board.until(20.0)
    board.sources.clear()
    board.now_s += 3600.0
    board.look()
    assert board.watch.board == Slowdown(1.0, pytest.approx(1.0))
    assert app.slowdown > 1.0, "nobody was told"


def test_a_clock_that_is_set_back_does_not_stop_the_watch() -> None:
    board = Drifting()
    board.add("cam", 15.0, stepped(20.0, 2.0, until_s=40.0))
    board.until(40.0)
    board.now_s = -500.0
    board.sources[0].sent = -500 * 15
    board.sources[0].times = steady(3.0, 3.0, 3.0, 3.0)
    assert board.until(-498.0).board.median == 3.0
    assert board.causes[-1][0] <= -498.0


def test_requests_of_which_nothing_was_expected_say_nothing() -> None:
    board = Drifting()
    app = board.add("cam", 15.0, steady(9.0), blocks=1)
    assert app.route is not None
    object.__setattr__(app.route, "expected", ())
    assert board.until(20.0) == Factors()
    assert expected_blocks(1)[0].last == 0
