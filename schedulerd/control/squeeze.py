"""Shrink before the kernel evicts: the memory limit goes down while there is still time to follow it. Pure.

Two signs of a squeeze. Memory runs out: what the board will be able to spare a few seconds from now, if free memory
goes on falling as it does, is less than what is held. Or work stands still for memory (PSI, "some"): the kernel is
taking pages away that are wanted again, whatever it calls available.

The limit goes down in steps of a share of itself, so that a ramp is followed by a few smaller plans and not by one at
every look; what is only kept warm goes first, by itself, as the limit is that of the blobs too. What is missing already
is taken at once, in as many steps as it needs; what is only foreseen takes a step a second, for a program that starts
looks like a ramp until it has all that it wants.

The limit comes back after a wait (`patience`). Where memory ran out, the board says how much it can spare now, and the
limit goes there in one step, less a margin: a plan that fills all that is free is too large as soon as anybody takes a
page. Where work stood still nobody knows how much is enough, and it comes back by a share of what was held before, wait
by wait: as in TCP's congestion control, decrease is multiplicative and increase is additive, and where several share
what is scarce that alone converges (D.-M. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for
congestion avoidance in computer networks", Computer Networks and ISDN Systems 17, 1989).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from schedulerd.control.patience import Patience, PatienceSettings, given, is_over, not_ahead, taken


@dataclass(frozen=True, slots=True)
class SqueezeSettings:
    """When memory is short, and how fast the limit follows."""

    ahead_s: float = 2.0
    """How far ahead the fall of free memory is followed: a look, a decision, loading smaller variants, and draining."""
    stalled: float = 0.1
    """Share of time that some work stood still for memory. A quiet board has 0; systemd-oomd kills at 0.6."""
    stalled_for_s: float = 0.4
    """How long it must have been so: a program's start takes one look."""
    step_every_s: float = 1.0
    """Pressure and trends are over a second or two: the next step waits until they can tell of the last one."""
    step: float = 0.85
    """By what the limit is multiplied."""
    growth: float = 0.25
    """Share of what was held before the squeeze that comes back at once, where work stood still."""
    filled: float = 0.9
    """Share of what the board can spare that comes back, where memory ran out."""
    least_growth: float = 0.1
    """Share of the limit by which it has to grow: less is not worth the swaps."""
    patience: PatienceSettings = PatienceSettings(least_s=10.0, most_s=120.0, regret_s=60.0)  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class MemorySeen:
    """One look at memory."""

    at_s: float
    allowed_bytes: int | None
    """What the board allows to our blocks now; None where free memory cannot be read."""
    slope_per_s: float | None
    """How that changes, in bytes a second; None where nobody can tell."""
    held_bytes: int
    """What our blocks and their activations hold."""
    stalled: float | None
    """Share of time in which some work stood still for memory; None where the kernel does not say."""
    floor_bytes: int = 0
    """No squeeze goes below this."""


@dataclass(frozen=True, slots=True)
class Squeeze:
    """The state between two looks."""

    limit_bytes: int | None = None
    """For blocks and their activations; None while nothing is squeezed."""
    why: str = ""
    stood_still: bool = False
    """Whether work stood still for memory in this squeeze."""
    held_bytes: int = 0
    """What was held before the squeeze."""
    stalled_since_s: float | None = None
    stepped_at_s: float = -math.inf
    """When the last step was taken that was not for what is missing already."""
    patience: Patience = Patience()  # noqa: RUF009 - frozen, so sharing the default is safe


def squeezed(before: Squeeze, seen: MemorySeen, settings: SqueezeSettings) -> Squeeze:
    """The state after another look."""
    state = _timed(before, seen, settings)
    allowed_bytes, held_bytes = seen.allowed_bytes, seen.held_bytes
    if allowed_bytes is not None and allowed_bytes < held_bytes:
        return _lowered(state, allowed_bytes, "the board ran short of memory", seen, settings)
    ahead_bytes = ahead(allowed_bytes, seen.slope_per_s, settings.ahead_s)
    if (why := _foreseen(state, seen, ahead_bytes, settings)) and held_bytes:
        if seen.at_s - state.stepped_at_s < settings.step_every_s:
            return state
        present_bytes = held_bytes if state.limit_bytes is None else min(held_bytes, state.limit_bytes)
        lowered = _lowered(state, settings.step * present_bytes, why, seen, settings)
        stood_still = state.stood_still or (lowered is not state and state.stalled_since_s is not None)
        return replace(lowered, stepped_at_s=seen.at_s, stood_still=stood_still)
    if state.limit_bytes is not None and _is_calm(state, seen, ahead_bytes):
        return _raised(state, seen, settings)
    return state


def ahead(bytes_: int | None, slope_per_s: float | None, ahead_s: float) -> int | None:
    """What an amount will be in `ahead_s` if it goes on falling as it does; one that rises is taken as it is."""
    return bytes_ if bytes_ is None or slope_per_s is None else max(0, bytes_ + int(min(0.0, slope_per_s) * ahead_s))


def _timed(before: Squeeze, seen: MemorySeen, settings: SqueezeSettings) -> Squeeze:
    """What times say at this look, with none of them in the future."""
    since_s: float | None = None
    if seen.stalled is not None and seen.stalled >= settings.stalled:
        since_s = min(seen.at_s, seen.at_s if before.stalled_since_s is None else before.stalled_since_s)
    patience, stepped_at_s = not_ahead(before.patience, seen.at_s), min(before.stepped_at_s, seen.at_s)
    return replace(before, stalled_since_s=since_s, stepped_at_s=stepped_at_s, patience=patience)


def _foreseen(state: Squeeze, seen: MemorySeen, ahead_bytes: int | None, settings: SqueezeSettings) -> str:
    """Why memory is about to be short; empty where it is not."""
    within_bytes = seen.held_bytes if state.limit_bytes is None else min(seen.held_bytes, state.limit_bytes)
    if ahead_bytes is not None and ahead_bytes < within_bytes:
        return f"free memory fell by {-(seen.slope_per_s or 0.0) / 1e6:.1f} MB a second"
    if state.stalled_since_s is not None and seen.at_s - state.stalled_since_s >= settings.stalled_for_s:
        return f"work stood still for memory {seen.stalled:.0%} of the time"
    return ""


def _lowered(before: Squeeze, wanted_bytes: float, why: str, seen: MemorySeen, settings: SqueezeSettings) -> Squeeze:
    """As many steps down as it takes to be within what is wanted; none where the limit is that low already."""
    start = seen.held_bytes if before.limit_bytes is None else before.limit_bytes
    wanted_bytes = max(wanted_bytes, seen.floor_bytes, 1)
    if wanted_bytes >= start:
        return before
    steps = math.ceil(math.log(wanted_bytes / start) / math.log(settings.step) - 1e-9)
    return replace(
        before,
        limit_bytes=max(seen.floor_bytes, int(start * settings.step**steps)),
        why=why,
        held_bytes=max(before.held_bytes, seen.held_bytes),
        patience=taken(before.patience, seen.at_s, settings.patience),
    )


def _is_calm(state: Squeeze, seen: MemorySeen, ahead_bytes: int | None) -> bool:
    """Whether more may be given now."""
    falls = seen.allowed_bytes is not None and ahead_bytes is not None and ahead_bytes < 0.9 * seen.allowed_bytes
    return state.stalled_since_s is None and not falls and is_over(state.patience, seen.at_s)


def _raised(before: Squeeze, seen: MemorySeen, settings: SqueezeSettings) -> Squeeze:
    assert before.limit_bytes is not None, "there is something to raise"
    limit_bytes = before.held_bytes
    if before.stood_still or seen.allowed_bytes is None:
        limit_bytes = before.limit_bytes + int(settings.growth * before.held_bytes)
    if seen.allowed_bytes is not None and seen.allowed_bytes < before.held_bytes:
        limit_bytes = min(limit_bytes, int(settings.filled * seen.allowed_bytes))
    patience = given(before.patience, seen.at_s)
    if limit_bytes >= before.held_bytes:
        return Squeeze(stepped_at_s=before.stepped_at_s, patience=patience)
    if limit_bytes < (1.0 + settings.least_growth) * before.limit_bytes:
        return before
    return replace(before, limit_bytes=limit_bytes, patience=patience)
