"""Values that are kept for a while."""

from __future__ import annotations

import pytest

from schedulerd.control.sources.seldom import Seldom
from tests.fakes import FakeClock


def test_a_value_is_made_at_the_first_look_and_again_when_it_is_old() -> None:
    clock, made = FakeClock(), iter(range(9))
    seldom = Seldom(clock, lambda: next(made), every_s=5.0)
    assert [seldom.get(), seldom.get()] == [0, 0]
    clock.advance(4.9)
    assert seldom.get() == 0
    clock.advance(0.1)
    assert [seldom.get(), seldom.get()] == [1, 1]


def test_of_a_clock_that_went_back_nobody_knows_how_old_it_is() -> None:
    clock, made = FakeClock(), iter(range(9))
    seldom = Seldom(clock, lambda: next(made))
    seldom.get()
    clock.advance(-1.0)
    assert seldom.get() == 1


def test_what_could_not_be_made_is_tried_at_the_next_look() -> None:
    clock, made = FakeClock(), iter([1, 0, 4])
    seldom = Seldom(clock, lambda: 12 // next(made), every_s=5.0)
    seldom.get()
    clock.advance(5.0)
    with pytest.raises(ZeroDivisionError):
        seldom.get()
    assert seldom.get() == 3
