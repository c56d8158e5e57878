"""States of a variant in memory, and which may follow which; anything else raises.

    absent -> loading -> warm <-> live
                          ^        |
                          +- draining

A variant is live while some app's route has it, and draining while only requests that started before a swap
still run on it. Memory is freed from warm alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from blockstore.errors import IllegalTransition


class State(Enum):
    """Where a variant is on its way through memory."""

    ABSENT = "absent"
    """On disk only."""
    LOADING = "loading"
    """The loader thread reads it; its memory counts from here on."""
    WARM = "warm"
    """In memory, on no route: ready for a swap, free to be evicted."""
    LIVE = "live"
    """On the route of at least one app."""
    DRAINING = "draining"
    """On no route any more, but requests in flight still run on it."""


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.ABSENT: frozenset({State.LOADING}),
    # A blob that cannot be loaded goes back to absent.
    State.LOADING: frozenset({State.WARM, State.ABSENT}),
    State.WARM: frozenset({State.LIVE, State.ABSENT}),
    # Never straight to warm or absent: a request may have taken the route a moment ago.
    State.LIVE: frozenset({State.DRAINING}),
    State.DRAINING: frozenset({State.WARM, State.LIVE}),
}


def moved(state: State, target: State) -> State:
    """The state after a step; `IllegalTransition` names the steps that are allowed from `state`."""
    if target not in TRANSITIONS[state]:
        allowed = " or ".join(sorted(s.value for s in TRANSITIONS[state]))
        raise IllegalTransition(f"a variant that is {state.value} cannot become {target.value}, only {allowed}")
    return target
