"""How far an operator squeezes memory."""

from __future__ import annotations

import pytest

from schedulerd.scenes.operator import squeezed_bytes


def test_the_cut_lies_between_what_is_used_and_the_least_that_is_possible() -> None:
    assert 4e6 < squeezed_bytes(14e6, 4e6, 0.4) < 14e6
    assert squeezed_bytes(14e6, 4e6, 0.4) == pytest.approx(10e6)


def test_where_nothing_can_be_given_nothing_is_cut() -> None:
    assert squeezed_bytes(4e6, 4e6, 0.4) == squeezed_bytes(4e6, 5e6, 0.4) == 4e6
