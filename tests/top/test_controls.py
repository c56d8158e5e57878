"""Keys choose an app, move its budget or type one."""

from __future__ import annotations

import pytest

from schedulerd.top.controls import LEAST_MS, MOST_MS, Controls, Edit, pressed, settled

APPS = ({"app": "cam", "budget_ms": 20.0}, {"app": "door", "budget_ms": 50.0})
START = settled(Controls(), APPS)


def after(*keys: str, before: Controls = START) -> tuple[Controls, Edit | None]:
    """What keys lead to, and the last edit that they ask for."""
    last = None
    for key in keys:
        before, edit = pressed(before, key, APPS)
        last = edit or last
    return before, last


def test_the_first_app_is_chosen_and_one_that_left_makes_way() -> None:
    assert START.chosen == "cam"
    assert settled(Controls(chosen="gone", typed="1"), APPS) == Controls(chosen="cam")
    assert settled(Controls(chosen="door"), APPS).chosen == "door"
    assert settled(START, ()).chosen is None


def test_arrows_go_round() -> None:
    assert [after(*["down"] * n)[0].chosen for n in (1, 2)] == ["door", "cam"]
    assert after("up")[0].chosen == "door"


def test_budgets_move_by_a_tenth_within_what_there_may_be() -> None:
    assert after("right")[1] == Edit("cam", 22.0)
    assert after("down", "-")[1] == Edit("door", 45.5)
    long = ({"app": "cam", "budget_ms": MOST_MS},)
    assert pressed(START, "+", long)[1] == Edit("cam", MOST_MS)
    short = ({"app": "cam", "budget_ms": LEAST_MS},)
    assert pressed(START, "-", short)[1] == Edit("cam", LEAST_MS)
    assert pressed(START, "+", ({"app": "cam", "budget_ms": None},))[1] is None


def test_a_budget_is_typed_in_ms_or_with_a_unit() -> None:
    assert after("b", "3", "5", "backspace", ".", "5", "enter") == (START, Edit("cam", 3.5))
    assert after("b", "0", ".", "2", "s", "enter")[1] == Edit("cam", 200.0)
    assert after("b", "1", "2", "m", "s", "enter")[1] == Edit("cam", 12.0)


@pytest.mark.parametrize("typed", ["0", "ss", "1.2.3", "."])
def test_what_is_no_budget_is_said_and_changes_nothing(typed: str) -> None:
    controls, edit = after("b", *typed, "enter")
    assert edit is None
    assert controls.typed is None
    assert "duration" in controls.said


def test_letters_are_no_commands_while_a_budget_is_typed() -> None:
    controls, edit = after("b", "q", "down", "1")
    assert (controls.typed, controls.ended, edit) == ("1", False, None)
    assert after("b", "1", "escape") == (START, None)
    assert after("b", "enter") == (START, None)
    assert after("b", "interrupt")[0].ended


def test_keys_without_an_app_do_nothing_but_leave() -> None:
    assert pressed(Controls(), "+", ()) == (Controls(), None)
    assert pressed(Controls(), "b", ())[0].typed is None
    assert pressed(Controls(), "q", ())[0].ended
