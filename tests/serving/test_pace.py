"""So many a second, and a few at once after a quiet while."""

from __future__ import annotations

import pytest

from schedulerd.serving.pace import Pace


def test_a_few_may_be_at_once_and_then_so_many_a_second() -> None:
    pace = Pace(a_second=10.0, at_once=3, now_s=100.0)
    for _ in range(3):
        assert pace.wait_s(100.0) == 0
        pace.take(100.0)
    assert pace.wait_s(100.0) == pytest.approx(0.1)
    assert pace.wait_s(100.1) == pytest.approx(0.0)
    pace.take(100.1)
    assert pace.wait_s(100.1) == pytest.approx(0.1)


def test_a_long_quiet_while_saves_up_no_more_than_that() -> None:
    pace = Pace(a_second=10.0, at_once=3, now_s=0.0)
    for _ in range(3):
        pace.take(1e6)
    assert pace.wait_s(1e6) > 0
