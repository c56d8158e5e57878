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
sets at 40 to 80% load (tests/optimizer/simulation.py) one had a 95th percentile above the one so predicted, by 5%.

What happens to fewer than one request in twenty does not move the 95th percentile; for another percentile it is the
share beyond that. A request has to do with another one only if that one is due within its own time (it comes first) or
is open when it arrives (it is in the way). While budgets are met, that is a window no longer than the larger one of
their budgets, and at times independent of each other the share of requests with a meeting is at most rate times window.
The rarest apps are left out as long as their shares together stay below that.

With several lanes the requests that come first are spread over them, and the block in the way is the longest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from schedulerd.plan import App

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

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


@dataclass(frozen=True, slots=True, eq=False)
class Contention:
    """What may delay the requests of every app: *windows*, one after the other, the apps' in order.

    A window is a request that arrives some time after its lane got busy. An app's wait is the longest that one of its
    windows gives.
    """

    app: Ints
    """[windows]: whose request it is, by position."""
    start: Ints
    """[apps]: the first window of each; each has one at least."""
    elapsed_ms: Floats
    """[windows]: how long its lane has been busy when the request arrives."""
    ahead: Floats
    """[windows, apps]: how many requests of each app come first, on each lane."""
    blockers: Bools
    """[windows, apps]: apps with later deadlines, one of which may be running a block."""

    def waits_in_ms(self, median_ms: Floats, longest_ms: Floats) -> Floats:
        """[windows]: what a request waits in each, below 0 where all is done before it.

        Args:
            median_ms: [apps] of each app's whole route.
            longest_ms: [apps] of its longest block.
        """
        blocks_ms = np.where(self.blockers, longest_ms, 0.0).max(axis=1, initial=0.0)
        return np.asarray(self.ahead @ median_ms + blocks_ms - self.elapsed_ms)

    def waits_ms(self, median_ms: Floats, longest_ms: Floats) -> Floats:
        """[apps]: what a request of each waits; arguments as of `waits_in_ms`."""
        if not len(self.start):
            return np.zeros(0)
        return np.asarray(np.maximum.reduceat(self.waits_in_ms(median_ms, longest_ms), self.start))

    def windows(self) -> list[tuple[Window, ...]]:
        """For each app its windows one by one."""
        listed: list[list[Window]] = [[] for _ in range(self.ahead.shape[1])]
        for number, position in enumerate(self.app):
            requests = self.ahead[number]
            ahead = tuple((int(other), float(requests[other])) for other in np.flatnonzero(requests))
            blockers = tuple(map(int, np.flatnonzero(self.blockers[number])))
            listed[position].append(Window(float(self.elapsed_ms[number]), ahead, blockers))
        return [tuple(of_app) for of_app in listed]

    def only(self, windows: Bools) -> Contention:
        """Without the other windows; apps may be left with none, so that `start` means nothing any more."""
        return Contention(
            self.app[windows], self.start[:0], self.elapsed_ms[windows], self.ahead[windows], self.blockers[windows]
        )


def contention_of(apps: Sequence[App], lanes: int) -> Contention:
    """What each of `apps` has to wait for, on `lanes` lanes of one queue."""
    return _contention(tuple((app.budget_ms, app.rate_hz, app.percentile) for app in apps), lanes)


@lru_cache(maxsize=8)
def _contention(apps: tuple[tuple[float, float, float], ...], lanes: int) -> Contention:
    """By budget in ms, rate in Hz and percentile; several stages of a decision ask for the same."""
    budget_ms = np.array([budget_ms for budget_ms, _, _ in apps], np.float64)
    rate = np.array([rate_hz / 1000.0 for _, rate_hz, _ in apps], np.float64)
    rare = np.array([1.0 - percentile / 100.0 for _, _, percentile in apps], np.float64)
    windows = [_windows(budget_ms, rate, position, rare[position], lanes) for position in range(len(apps))]
    counts = [len(elapsed_ms) for elapsed_ms, _, _ in windows]
    return Contention(
        app=np.repeat(np.arange(len(apps)), counts),
        start=np.cumsum([0, *counts[:-1]], dtype=np.intp)[: len(apps)],
        elapsed_ms=np.concatenate([w[0] for w in windows]) if windows else np.zeros(0),
        ahead=np.concatenate([w[1] for w in windows]) if windows else np.zeros((0, 0)),
        blockers=np.concatenate([w[2] for w in windows]) if windows else np.zeros((0, 0), np.bool_),
    )


def _windows(budget_ms: Floats, rate: Floats, own: int, rare: float, lanes: int) -> tuple[Floats, Floats, Bools]:
    """Of the app at `own`: elapsed times, requests ahead, and blockers."""
    met = _met(budget_ms, rate, own, rare)
    counted = met.copy()
    counted[own] = True
    own_ms = budget_ms[own]
    next_due_ms = budget_ms + _requests(budget_ms, rate, own_ms) / rate
    due_ms = np.unique(np.append(next_due_ms[counted], own_ms))
    requests = np.where(counted, _requests(budget_ms, rate, due_ms[:, None]), 0.0)
    blockers = met & (requests == 0.0)
    requests[:, own] -= 1.0
    return due_ms - own_ms, requests / lanes, blockers


def _requests(budget_ms: Floats, rate: Floats, due_ms: Floats | float) -> Floats:
    """How many requests arrive and are due within `due_ms` when the first arrives at its start."""
    return np.asarray(np.maximum(0.0, np.floor((due_ms - budget_ms) * rate + _ROUNDING) + 1.0))


def _met(budget_ms: Floats, rate: Floats, own: int, rare: float) -> Bools:
    """The other apps without the rarest ones; those that are equally rare count or are left out together."""
    share = rate * np.maximum(budget_ms, budget_ms[own])
    share[own] = 0.0
    order = np.sort(share)
    below = np.concatenate([[0.0], np.cumsum(order)])[np.searchsorted(order, share + _ROUNDING)]
    met = below > rare - _ROUNDING
    met[own] = False
    return np.asarray(met)
