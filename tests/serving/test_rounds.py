"""When clients are looked after: every half second, and shortly after a connection has ended."""

from __future__ import annotations

import math

import pytest

from schedulerd.serving.rounds import ASK_EVERY_S, ASK_FOR_S, Rounds
from schedulerd.serving.stopped import LOOK_EVERY_S


def asks(rounds: Rounds, from_s: float, to_s: float) -> list[float]:
    """When somebody who comes whenever something is due is told to ask."""
    found = []
    now_s = from_s
    while now_s <= to_s:
        if rounds.due(now_s)[1]:
            found.append(now_s)
        now_s = max(rounds.due_s, math.nextafter(now_s, math.inf))
    return found


def test_a_look_is_due_at_once_and_then_every_half_second() -> None:
    rounds = Rounds()
    assert rounds.due_s == -math.inf
    assert rounds.due(10.0) == (True, False)
    assert rounds.due_s == 10.0 + LOOK_EVERY_S
    assert rounds.due(10.0 + LOOK_EVERY_S / 2) == (False, False)
    assert rounds.due(10.0 + LOOK_EVERY_S) == (True, False)


def test_a_lost_connection_is_asked_about_at_once_and_a_few_times_more() -> None:
    rounds = Rounds()
    rounds.due(10.0)
    rounds.lost(10.2)
    assert rounds.due_s == 10.2
    times = asks(rounds, 10.2, 20.0)
    assert times[0] == 10.2
    assert times[-1] == pytest.approx(10.2 + ASK_FOR_S, abs=ASK_EVERY_S)
    assert 3 <= len(times) <= 6
    assert asks(rounds, 20.0, 30.0) == []


def test_a_flood_of_lost_connections_is_asked_about_no_more_often() -> None:
    rounds = Rounds()
    found = 0
    for step in range(1000):
        rounds.lost(10.0 + step * 0.001)
        found += rounds.due(10.0 + step * 0.001)[1]
    assert found <= 1.0 / ASK_EVERY_S + 1
    assert len(asks(rounds, 11.0, 20.0)) >= 3
