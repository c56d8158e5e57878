"""Which reading a share is taken since."""

from __future__ import annotations

from schedulerd.control.sources.window import Window


def test_the_first_reading_has_none_before_it() -> None:
    assert Window[int]().before(5.0, 1) is None


def test_until_a_window_has_passed_it_is_the_first() -> None:
    window = Window[int]()
    window.before(0.0, 1)
    assert window.before(0.2, 2) == (0.0, 1)
    assert window.before(0.9, 3) == (0.0, 1)


def test_then_it_is_the_newest_that_is_a_window_old() -> None:
    window = Window[str]()
    for at_s in (0.0, 0.2, 0.4, 0.6, 0.8):
        window.before(at_s, f"at {at_s}")
    assert window.before(1.3, "now") == (0.2, "at 0.2")
    assert window.before(1.5, "now") == (0.4, "at 0.4")


def test_after_a_pause_it_is_the_last_one() -> None:
    window = Window[int]()
    window.before(0.0, 1)
    window.before(0.2, 2)
    assert window.before(60.0, 3) == (0.2, 2)


def test_a_clock_that_steps_back_begins_anew_and_keeps_no_more_than_before() -> None:
    window = Window[int]()
    for number in range(10):
        window.before(1e8 + number * 0.2, number)
    assert window.before(5.0, 10) is None
    for number in range(1, 10):
        window.before(5.0 + number * 0.2, 10 + number)
    assert window.before(7.0, 20) == (6.0, 15)


def test_a_clock_that_leaps_is_a_pause() -> None:
    window = Window[int]()
    window.before(0.0, 1)
    assert window.before(400 * 86400.0, 2) == (0.0, 1)
    assert window.before(400 * 86400.0 + 1.0, 3) == (400 * 86400.0, 2)
