"""What `schedulerd replay` prints: a row for each decision, and for those that came out otherwise what is different."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from schedulerd.cells import plain
from schedulerd.commands.tables import count_text, table
from schedulerd.optimizer.document import plan_document
from schedulerd.optimizer.verdict import Judged, Verdict, verdict
from schedulerd.plan import RouteChange, difference

HEADER: Final = ("PLAN", "AT (UTC)", "APPS", "ROUTES", "ACCURACY", "OBJECTIVE", "GAP", "MS", "STATUS", "VERDICT")
NUMBERS: Final = ("PLAN", "APPS", "GAP", "MS")


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision with what came of it then (`before`) and now (`after`), both worth what they are for `objective`."""

    at_s: float
    """When the decision was made, Unix seconds."""
    objective: str
    before: Judged
    """Its faults are those under the objective that the plan was made for."""
    after: Judged

    @property
    def verdict(self) -> Verdict:
        """How the new plan compares."""
        return verdict(self.before, self.after)

    @property
    def changes(self) -> tuple[RouteChange, ...]:
        """The apps that would run something else."""
        return difference(self.before.plan, self.after.plan)


@dataclass(frozen=True, slots=True)
class Result:
    """All decisions of a file, made again."""

    file: str
    solver: str
    time_limit_s: float
    replayed: tuple[Replayed, ...]

    def holds(self) -> bool:
        """Whether no new plan is worse than the old one, or may not be applied."""
        return all(one.verdict not in ("worse", "faulty") for one in self.replayed)

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {
            "file": self.file,
            "solver": self.solver,
            "time_limit_s": self.time_limit_s,
            "holds": self.holds(),
            "decisions": [_document(one) for one in self.replayed],
        }

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield from table(HEADER, [_cells(one) for one in self.replayed], NUMBERS)
        if details := [line for name, one in self._named() for line in _details(name, one)]:
            yield from ("", *details)
        yield from ("", self._summary())

    def _named(self) -> Iterator[tuple[str, Replayed]]:
        """Each decision by its plan's number, and by its place where several have it.

        A plan that is not taken leaves its number to the next.
        """
        several = Counter(one.after.plan.number for one in self.replayed)
        seen: Counter[int] = Counter()
        for one in self.replayed:
            number = one.after.plan.number
            seen[number] += 1
            place = f" ({seen[number]} of {several[number]})" if several[number] > 1 else ""
            yield f"plan {number}{place}", one

    def _summary(self) -> str:
        counts = Counter(one.verdict for one in self.replayed)
        before_ms = statistics.median(one.before.plan.solve_ms for one in self.replayed)
        after_ms = statistics.median(one.after.plan.solve_ms for one in self.replayed)
        return (
            f"{count_text(len(self.replayed), 'decision')} made again with {self.solver}: "
            f"{', '.join(f'{count} {name}' for name, count in counts.items())}; "
            f"median {before_ms:.1f} ms then, {after_ms:.1f} ms now"
        )


def _document(one: Replayed) -> dict[str, Any]:
    return {
        "at_s": one.at_s,
        "objective": one.objective,
        "verdict": one.verdict,
        "before": _judged_document(one.before),
        "after": _judged_document(one.after),
    }


def _judged_document(judged: Judged) -> dict[str, Any]:
    return {
        "objective_values": None if judged.values is None else list(judged.values),
        "faults": list(judged.faults),
        "plan": plan_document(judged.plan),
    }


def _cells(one: Replayed) -> tuple[str, ...]:
    before, after = one.before.plan, one.after.plan
    return (
        str(after.number),
        f"{datetime.fromtimestamp(one.at_s, UTC):%Y-%m-%d %H:%M:%S}",
        str(len(after.apps)),
        f"{len(one.changes)} differ" if one.changes else "same",
        _change(f"{before.weighted_accuracy:.4f}", f"{after.weighted_accuracy:.4f}"),
        f"{one.objective} {_change(_value(one.before), _value(one.after))}",
        _change(_gap(before.gap), _gap(after.gap)),
        f"{before.solve_ms:.1f} -> {after.solve_ms:.1f}",
        _change(plain(before.status), after.status),
        one.verdict,
    )


def _value(judged: Judged) -> str:
    return "-" if judged.values is None else f"{judged.values[0]:.4g}"


def _gap(gap: float | None) -> str:
    return "-" if gap is None else f"{gap:.2%}"


def _change(before: str, after: str) -> str:
    return after if before == after else f"{before} -> {after}"


def _details(name: str, one: Replayed) -> Iterator[str]:
    for change in one.changes:
        yield f"{name}: {plain(change.app_id)} {plain(change.old or '-')} -> {plain(change.new or '-')}"
    for when, judged in (("then", one.before), ("now", one.after)):
        for fault in judged.faults:
            yield f"{name}, {when}: may not be applied: {plain(fault)}"
        if one.changes:
            for excess in judged.plan.broken:
                yield f"{name}, {when}: exceeds {plain(excess.limit)} by {excess.share:.2%}"
