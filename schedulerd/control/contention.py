"""Who delays whom in a queue by earliest deadline: constants of the budgets and rates, whatever routes are chosen.

The processor demand criterion (Baruah, Rosier and Howell 1990; for blocks that cannot be interrupted Jeffay, Stanat and
Martel 1991): of an app with budget D and period T, at most

    floor((t - D) / T) + 1    requests, none where t < D,

arrive and are due within t from the instant at which a lane gets busy. They come before a request that is due at t.
An app whose request is due later can only be in the way with the block that it is running when the lane gets busy, so
only one such app is (as with the priority inversion that Baker 1991 bounds).

A request of an app with budget D is due at t when it arrives t - D into the busy time. Its longest wait need not begin
with it (Spuri 1996, INRIA report 2772): the request of an app with a slightly larger budget comes first if it arrived
by that much earlier, and so do earlier ones of its own. Hence t is D, and the next deadline after D of every app,
itself included. Later ones lengthen the wait only where a lane stays busy for whole periods: of 6300 apps in simulated
sets at 40 to 80% load (tests/control/simulation.py) one had a 95th percentile above the one so predicted, by 5%.

What happens to fewer than one request in twenty does not move the 95th percentile. A request has to do with another one
only if that one is due within its own time (it comes first) or is open when it arrives (it is in the way). While
budgets are met, that is a window no longer than the larger one of their budgets, and at times independent of each
other the share of requests with a meeting is at most rate times window. The rarest apps are left out as long as their
shares together stay below one in twenty.

With several lanes the requests that come first are spread over them, and the block in the way is the longest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from schedulerd.plan import App

RARE = 0.05
"""Share of requests that lies beyond the 95th percentile."""
_ROUNDING = 1e-9
"""Periods and shares this close are equal."""


@dataclass(frozen=True, slots=True)
class Window:
    """What may delay a request that arrives `elapsed_ms` after its lane got busy."""

    elapsed_ms: float
    ahead: tuple[tuple[int, float], ...]
    """Apps that come first, by position, and how many of their requests each lane does."""
    blockers: tuple[int, ...]
    """Apps with later deadlines: one of them may be running a block."""


Contention = tuple[tuple[Window, ...], ...]
"""For each app, by position, the windows to look at: its wait is the longest that one of them gives."""


def contention_of(apps: Sequence[App], lanes: int) -> Contention:
    """What each of `apps` has to wait for, on `lanes` lanes of one queue."""
    return tuple(_windows(apps, position, lanes) for position in range(len(apps)))


def _windows(apps: Sequence[App], position: int, lanes: int) -> tuple[Window, ...]:
    own_ms = apps[position].budget_ms
    met = _met(apps, position)
    due_ms = sorted({own_ms, *(_next_due_ms(apps[other], own_ms) for other in (position, *met))})
    return tuple(_window(apps, position, met, t_ms, lanes) for t_ms in due_ms)


def _window(apps: Sequence[App], position: int, met: Sequence[int], t_ms: float, lanes: int) -> Window:
    """The window of a request of the app at `position` that is due at `t_ms`."""
    requests = {other: _requests(apps[other], t_ms) for other in met}
    earlier = _requests(apps[position], t_ms) - 1
    return Window(
        elapsed_ms=t_ms - apps[position].budget_ms,
        ahead=tuple((other, n / lanes) for other, n in ((position, earlier), *requests.items()) if n > 0),
        blockers=tuple(other for other, n in requests.items() if n == 0),
    )


def _requests(app: App, t_ms: float) -> int:
    """How many requests arrive and are due within `t_ms` when the first arrives at its start."""
    return max(0, floor((t_ms - app.budget_ms) * app.rate_hz / 1000.0 + _ROUNDING) + 1)


def _next_due_ms(app: App, t_ms: float) -> float:
    """When the first request is due that is not due within `t_ms`."""
    return app.budget_ms + 1000.0 / app.rate_hz * _requests(app, t_ms)


def _met(apps: Sequence[App], position: int) -> list[int]:
    """The other apps without the rarest ones; those that are equally rare count or are left out together."""
    own = apps[position]
    shares = {
        other: app.rate_hz * max(app.budget_ms, own.budget_ms) / 1000.0
        for other, app in enumerate(apps)
        if other != position
    }
    return [
        other
        for other, share in shares.items()
        if sum(rarer for rarer in shares.values() if rarer < share + _ROUNDING) > RARE - _ROUNDING
    ]
