"""States of a variant: the legal steps are a table, all others raise."""

from __future__ import annotations

import pytest

from blockstore.errors import IllegalTransition
from blockstore.lifecycle import State, moved

LEGAL = {
    ("absent", "loading"),
    ("loading", "warm"),
    ("loading", "absent"),
    ("warm", "live"),
    ("warm", "absent"),
    ("live", "draining"),
    ("draining", "warm"),
    ("draining", "live"),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("target", State)
def test_every_step_is_legal_or_raises(state: State, target: State) -> None:
    """All twenty-five, so that a change of the table is a change of this test."""
    if (state.value, target.value) in LEGAL:
        assert moved(state, target) is target
    else:
        with pytest.raises(IllegalTransition, match=f"is {state.value} cannot become {target.value}, only"):
            moved(state, target)


def test_memory_is_freed_from_warm_alone() -> None:
    """But for a load that failed, nothing on a route or with requests in flight can vanish."""
    assert {s for s, t in LEGAL if t == "absent"} == {"warm", "loading"}
