"""What a played scene comes to: frames in budget, time to the next plan, accuracy given up, swaps. Pure.

A frame counts against its budget while a plan that meets it is known: not where the plan in force, or one that follows
within a second and before anything else happens, was predicted to miss it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from schedulerd.scenes.hindsight import weighted
from schedulerd.scenes.record import AppRecord, Deed, PlanSeen, Story, spans
from schedulerd.scenes.script import Ramp
from schedulerd.serving.meter import percentile

FOLLOWS_S: Final = 1.0
"""A plan is about what was wrong by then: what the daemon is allowed for a trend."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Frames, and how many of them were answered within their budget."""

    frames: int
    met: int

    @property
    def share(self) -> float | None:
        """None of no frames."""
        return self.met / self.frames if self.frames else None


@dataclass(frozen=True, slots=True)
class Reaction:
    """From a disturbance to the next plan.

    `ms` is None where there was none before the next disturbance, or before the next steady phase if all of it came at
    once: a plan in there is no answer, and counts as a swap.
    """

    told: str
    trend: bool
    ms: float | None


@dataclass(frozen=True, slots=True)
class PhaseFigures:
    """One phase."""

    name: str
    seconds: float
    feasible: Kept
    """While a plan that meets the budget was known."""
    all: Kept
    accuracy_given_up: float | None
    """Weighted mean of the apps' predicted accuracy, 0 to 1, less than the best plan known afterwards had; None where
    no plan was in force."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A whole scene."""

    phases: tuple[PhaseFigures, ...]
    reactions: tuple[Reaction, ...]
    steady_s: float
    steady_swaps: int
    """Plans in steady phases that changed a route."""
    lost: int

    @property
    def in_budget(self) -> float | None:
        """Of the phase with the least share of frames in budget while a plan that meets it was known."""
        return min((p.feasible.share for p in self.phases if p.feasible.share is not None), default=None)

    @property
    def react_p95_ms(self) -> float | None:
        """Over all disturbances that a plan followed."""
        return percentile([r.ms for r in self.reactions if r.ms is not None], 0.95)

    @property
    def swaps_per_min(self) -> float | None:
        """In steady phases; None without one."""
        return 60 * self.steady_swaps / self.steady_s if self.steady_s else None

    @property
    def accuracy_gap(self) -> float | None:
        """Mean over the time of all phases."""
        known = [(p.seconds, p.accuracy_given_up) for p in self.phases if p.accuracy_given_up is not None]
        total_s = sum(seconds for seconds, _ in known)
        return sum(seconds * gap for seconds, gap in known) / total_s if total_s else None


def figures(story: Story) -> Figures:
    """Of a played scene."""
    steady = [(turn.at_s, until_s) for turn, until_s in spans(story.turns, story.end_s) if turn.steady]
    return Figures(
        phases=tuple(_phases(story)),
        reactions=tuple(_reactions(story)),
        steady_s=sum(end_s - begin_s for begin_s, end_s in steady),
        steady_swaps=sum(
            plan.swapped > 0 for plan in story.plans for begin_s, end_s in steady if begin_s <= plan.at_s < end_s
        ),
        lost=sum(record.lost for record in story.records),
    )


def marks(story: Story) -> tuple[float, ...]:
    """Beginnings of phases and moments of disturbances, with the end: in between, nothing happens but by itself."""
    moments = {turn.at_s for turn in story.turns} | {deed.at_s for deed in story.deeds} | {story.end_s}
    return tuple(sorted(moments))


# Budgets.


def _phases(story: Story) -> Iterator[PhaseFigures]:
    for turn, until_s in spans(story.turns, story.end_s):
        yield PhaseFigures(
            turn.name,
            until_s - turn.at_s,
            _kept(story, turn.at_s, until_s, feasible=True),
            _kept(story, turn.at_s, until_s, feasible=False),
            _given_up(story, turn.at_s, until_s),
        )


def _kept(story: Story, begin_s: float, end_s: float, *, feasible: bool) -> Kept:
    """Frames asked for in a stretch of time; one that got no answer was not in its budget."""
    frames = met = 0
    for record in story.records:
        asked = [(s.at_s, s.met) for s in record.samples] + [(e.at_s, False) for e in record.errors]
        counted = [
            was_met
            for at_s, was_met in asked
            if begin_s <= at_s < end_s and not (feasible and _is_hopeless(story, record, at_s))
        ]
        frames += len(counted)
        met += sum(counted)
    return Kept(frames, met)


def _is_hopeless(story: Story, record: AppRecord, at_s: float) -> bool:
    """Whether no plan was known that meets the app's budget."""
    now = _in_force(story.plans, at_s)
    following = next((p for p in story.plans if at_s < p.at_s <= at_s + FOLLOWS_S), None)
    if following is not None and any(at_s < deed.at_s <= following.at_s for deed in story.deeds):
        following = None  # it answers something that had not happened yet
    seen = [plan.apps[record.app] for plan in (now, following) if plan is not None and record.app in plan.apps]
    return any(app.miss_ms > 0 for app in seen)


def _in_force(plans: Sequence[PlanSeen], at_s: float) -> PlanSeen | None:
    return next((plan for plan in reversed(plans) if plan.at_s <= at_s), None)


# Reactions.


def _reactions(story: Story) -> Iterator[Reaction]:
    steady = [turn.at_s for turn in story.turns if turn.steady]
    deeds = [deed.at_s for deed in story.deeds]
    for deed in story.deeds:
        if deed.worse:
            trend = isinstance(deed.action, Ramp)
            ends = deeds if trend else (*deeds, *steady)
            next_s = min((end_s for end_s in ends if end_s > deed.at_s), default=story.end_s)
            yield Reaction(deed.told, trend, _reaction_ms(deed, story.plans, next_s))


def _reaction_ms(deed: Deed, plans: Sequence[PlanSeen], until_s: float) -> float | None:
    """To the first plan; one that came before it had to takes no time."""
    first = next((plan for plan in plans if deed.at_s <= plan.at_s < until_s), None)
    return None if first is None else max(0.0, 1e3 * (first.at_s - deed.counts_from_s))


# Accuracy.


def _given_up(story: Story, begin_s: float, end_s: float) -> float | None:
    """Mean over the time of a phase, stretch by stretch."""
    moments = [begin_s, *(m for m in marks(story) if begin_s < m < end_s), end_s]
    gaps = [(b - a, _gap(story, a, b)) for a, b in pairwise(moments)]
    known = [(seconds, gap) for seconds, gap in gaps if gap is not None]
    total_s = sum(seconds for seconds, _ in known)
    return sum(seconds * gap for seconds, gap in known) / total_s if total_s else None


def _gap(story: Story, begin_s: float, end_s: float) -> float | None:
    """Against what ran at the end, or a better plan that is known of the same time."""
    steps = [p for p in (_in_force(story.plans, begin_s), *story.plans) if p is not None]
    steps = [p for p in steps if p.apps and p.at_s < end_s and (p.at_s >= begin_s or p is steps[0])]
    if not steps or end_s <= begin_s:
        return None
    begins = [max(begin_s, plan.at_s) for plan in steps]
    values = [weighted({a: seen.accuracy for a, seen in plan.apps.items()}, story.priorities) for plan in steps]
    mean = sum(v * (b - a) for v, a, b in zip(values, begins, [*begins[1:], end_s], strict=True)) / (end_s - begins[0])
    known = [best.accuracy for best in story.best if best.begin_s < end_s and best.end_s > begin_s]
    return max(0.0, max((values[-1], *known)) - mean)
