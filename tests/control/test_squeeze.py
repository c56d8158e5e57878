"""The memory limit follows a squeeze down at once, in steps, and comes back late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedulerd.control.squeeze import MemorySeen, Squeeze, SqueezeSettings, ahead, squeezed

MB = 10**6
YEAR_S = 365 * 86400.0
SETTINGS = SqueezeSettings()
CALM_STATE = Squeeze()
CALM = MemorySeen(at_s=100.0, allowed_bytes=200 * MB, slope_per_s=0.0, held_bytes=100 * MB, stalled=0.0)


def after(*looks: MemorySeen, before: Squeeze = CALM_STATE) -> Squeeze:
    state = before
    for seen in looks:
        state = squeezed(state, seen, SETTINGS)
    return state


def stalls(for_s: float, *, stalled: float = 0.3, from_s: float = 100.0) -> list[MemorySeen]:
    """Looks five times a second while work stands still."""
    return [replace(CALM, at_s=from_s + 0.2 * n, stalled=stalled) for n in range(int(for_s * 5) + 1)]


def calm_until_free(state: Squeeze, seen: MemorySeen = CALM) -> list[tuple[float, int | None]]:
    """The limits, each with the seconds after which it came, until there is none."""
    found: list[tuple[float, int | None]] = []
    since_s = at_s = state.patience.taken_at_s
    while state.limit_bytes is not None and at_s < since_s + 1000.0:
        at_s += 0.2
        before, state = state, after(replace(seen, at_s=at_s), before=state)
        if state.limit_bytes != before.limit_bytes:
            found.append((round(at_s - since_s), state.limit_bytes))
    return found


def test_a_calm_board_squeezes_nothing() -> None:
    assert after(CALM, replace(CALM, at_s=101.0)).limit_bytes is None


def test_what_is_missing_already_is_taken_at_once_in_whole_steps() -> None:
    state = after(replace(CALM, allowed_bytes=60 * MB))
    assert state.limit_bytes == int(100 * MB * 0.85**4)
    assert state.why == "the board ran short of memory"


def test_a_fall_that_will_be_short_in_two_seconds_takes_a_step_a_second() -> None:
    falling = replace(CALM, allowed_bytes=130 * MB, slope_per_s=-20.0 * MB)
    assert after(replace(falling, slope_per_s=-14.0 * MB)).limit_bytes is None, "enough is left in two seconds"
    looks = [replace(falling, at_s=100.0 + 0.2 * n) for n in range(6)]
    state = after(*looks[:5])
    assert (state.limit_bytes, state.why) == (85 * MB, "free memory fell by 20.0 MB a second")
    assert after(*looks[:5], replace(looks[5], allowed_bytes=110 * MB, slope_per_s=-20.0 * MB)).limit_bytes == int(
        72.25 * MB
    )


def test_a_fall_to_what_the_limit_allows_already_takes_no_further_step() -> None:
    state = after(replace(CALM, allowed_bytes=130 * MB, slope_per_s=-20.0 * MB))
    more = replace(CALM, at_s=102.0, allowed_bytes=125 * MB, slope_per_s=-20.0 * MB)
    assert after(more, before=state).limit_bytes == 85 * MB, "the caches are on their way out"
    assert after(replace(more, held_bytes=84 * MB), before=state).limit_bytes == 85 * MB


def test_work_that_stands_still_takes_a_step_a_second_from_what_is_held() -> None:
    assert after(*stalls(0.2)).limit_bytes is None, "a program started"
    state = after(*stalls(0.4))
    assert (state.limit_bytes, state.why) == (85 * MB, "work stood still for memory 30% of the time")
    assert after(*stalls(1.2)).limit_bytes == 85 * MB
    assert after(*stalls(1.4)).limit_bytes == int(0.85 * 85 * MB)


def test_a_spike_of_one_look_squeezes_nothing() -> None:
    spike = replace(CALM, at_s=100.2, stalled=0.9)
    assert after(CALM, spike, *(replace(CALM, at_s=100.4 + 0.2 * n) for n in range(20))).limit_bytes is None


def test_stalls_below_the_threshold_squeeze_nothing() -> None:
    assert after(*stalls(10.0, stalled=0.05)).limit_bytes is None


@pytest.mark.parametrize("stalled", [None, 0.0])
def test_a_kernel_that_says_nothing_of_stalls_leaves_the_rest(stalled: float | None) -> None:
    short = replace(CALM, allowed_bytes=90 * MB, stalled=stalled)
    assert after(short).limit_bytes == 85 * MB
    assert after(replace(CALM, stalled=stalled)).limit_bytes is None


def test_memory_that_cannot_be_read_leaves_the_stalls() -> None:
    unread = [replace(look, allowed_bytes=None, slope_per_s=None) for look in stalls(0.4)]
    assert after(*unread).limit_bytes == 85 * MB
    assert calm_until_free(after(*unread), replace(CALM, allowed_bytes=None, slope_per_s=None))[-1][1] is None


def test_no_squeeze_goes_below_the_floor() -> None:
    state = after(replace(CALM, allowed_bytes=0, floor_bytes=30 * MB))
    assert state.limit_bytes == 30 * MB
    assert after(replace(CALM, allowed_bytes=0)).limit_bytes == 0
    assert after(*stalls(60.0), before=CALM_STATE).limit_bytes == pytest.approx(0, abs=MB), "and goes on without one"


def test_a_limit_of_nothing_comes_back_though_free_memory_trembles() -> None:
    state = after(replace(CALM, allowed_bytes=0))
    assert state.limit_bytes == 0
    trembling = replace(CALM, at_s=115.0, allowed_bytes=101 * MB, slope_per_s=-1.0 * MB)
    assert after(replace(trembling, allowed_bytes=80 * MB, held_bytes=0), before=state).limit_bytes == 72 * MB
    assert after(trembling, before=state).limit_bytes is None


def test_nothing_held_is_nothing_to_squeeze() -> None:
    idle = [replace(look, held_bytes=0) for look in stalls(5.0)]
    assert after(*idle).limit_bytes is None


def test_what_the_board_can_spare_comes_back_in_one_step_less_a_margin() -> None:
    state = after(replace(CALM, allowed_bytes=40 * MB))
    assert state.limit_bytes == int(100 * MB * 0.85**6)
    assert calm_until_free(state, replace(CALM, allowed_bytes=80 * MB, held_bytes=35 * MB)) == [(10, 72 * MB)]
    assert calm_until_free(state) == [(10, None)]


def test_what_was_held_before_comes_back_as_soon_as_the_board_has_it_again() -> None:
    """The margin is for what is still short: else nothing would ever end it."""
    state = after(replace(CALM, allowed_bytes=60 * MB))
    assert calm_until_free(state, replace(CALM, allowed_bytes=100 * MB, held_bytes=50 * MB)) == [(10, None)]


def test_stalls_that_take_nothing_are_no_squeeze() -> None:
    state = after(*(replace(look, floor_bytes=100 * MB) for look in stalls(1.0)))
    assert (state.limit_bytes, state.stood_still) == (None, False)


def test_what_is_hardly_more_does_not_come_back() -> None:
    state = after(replace(CALM, allowed_bytes=60 * MB))
    assert calm_until_free(state, replace(CALM, allowed_bytes=60 * MB, held_bytes=50 * MB)) == []


def test_after_stalls_it_comes_back_in_quarters_of_what_was_held_after_a_wait_each() -> None:
    state = after(*stalls(3.4))
    assert state.limit_bytes == int(0.85 * int(0.85 * int(0.85 * 85 * MB)))
    assert calm_until_free(state) == [(10, state.limit_bytes + 25 * MB), (20, None)]


def test_what_comes_back_too_early_waits_twice_as_long_the_next_time() -> None:
    state = after(replace(CALM, allowed_bytes=60 * MB))
    freed = after(replace(CALM, at_s=110.0), before=state)
    assert freed.limit_bytes is None
    again = after(replace(CALM, at_s=125.0, allowed_bytes=60 * MB), before=freed)
    assert [at_s for at_s, _ in calm_until_free(again)] == [20]


@pytest.mark.parametrize(
    "meanwhile",
    [
        replace(CALM, stalled=0.2),
        replace(CALM, slope_per_s=-30.0 * MB),
    ],
    ids=["work stands still", "memory falls fast"],
)
def test_nothing_is_given_back_while_memory_is_not_calm(meanwhile: MemorySeen) -> None:
    state = after(replace(CALM, allowed_bytes=60 * MB))
    held = replace(meanwhile, at_s=115.0, held_bytes=50 * MB)
    assert after(held, before=state).limit_bytes == state.limit_bytes
    assert after(replace(CALM, at_s=115.0), before=state).limit_bytes is None


@pytest.mark.parametrize("jump_s", [400 * 86400.0, -400 * 86400.0])
def test_a_clock_that_jumps_freezes_nothing(jump_s: float) -> None:
    now_s = 2 * YEAR_S
    short = replace(CALM, at_s=now_s, allowed_bytes=60 * MB)
    state = after(*stalls(0.6, from_s=now_s - 1.0), short)
    jumped = replace(CALM, at_s=now_s + jump_s)
    state = after(
        jumped, replace(jumped, at_s=jumped.at_s + 10.1), replace(jumped, at_s=jumped.at_s + 20.3), before=state
    )
    assert state.limit_bytes is None
    again = after(*stalls(0.6, from_s=jumped.at_s + 100.0), before=state)
    assert again.limit_bytes == 85 * MB, "and stalls count again"


def test_only_a_fall_is_followed_ahead() -> None:
    assert ahead(100, -10.0, 2.0) == 80
    assert ahead(100, 10.0, 2.0) == 100
    assert ahead(100, -90.0, 2.0) == 0
    assert ahead(100, None, 2.0) == 100
    assert ahead(None, -10.0, 2.0) is None
