"""The answers to `why` and `whatif` as text for people. Pure; absent values read `-`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from schedulerd import present_operator
from schedulerd.cells import (
    MISSING,
    TOLD_SHARE,
    Answer,
    Column,
    duration,
    excess,
    lined_up,
    listed,
    met,
    number,
    plain,
    policy,
    route,
    share,
    size,
    text,
    time_limit,
)
from schedulerd.wire.messages import DEFAULT_PERCENTILE


def why(answer: Answer) -> str:
    """What an app runs and since when, the limits that bind it, its next better route, and the runner-up."""
    return "\n".join([*_present(answer), "", *_relaxed(answer), "", *_better(answer), "", *_runner_up(answer)])


def _present(answer: Answer) -> Iterator[str]:
    yield f"{text(answer, 'app')} runs {_whole_route(answer)}"
    yield f"since     {duration(answer, 'since_s')}, plan {text(answer, 'plan')} ({text(answer, 'cause')})"
    yield f"predicted {_latency(answer)} for a budget of {_budget(answer)}, accuracy {share(answer, 'accuracy', 1)}"
    yield f"best is   {text(answer, 'objective')}"
    yield from present_operator.held(answer)
    if _above_0(answer, "miss_ms"):
        yield f"the least budget that can be met: {_or_none(answer, 'nearest_budget_ms')}"
    if _above_0(answer, "unused_gain"):
        yield f"a new plan would gain {_points(answer, 'unused_gain')} in all, and is not thought worth it yet"


def _relaxed(answer: Answer) -> list[str]:
    rows = answer.get("relaxed")
    return [lined_up(_RELAXED, rows)] if rows else ["no limit binds"]


def _better(answer: Answer) -> Iterator[str]:
    better = answer.get("better")
    if not better:
        yield "next better  none: no other block or exit policy gives noticeably more accuracy"
        return
    yield (
        f"next better  {_whole_route(better)}: accuracy {share(better, 'accuracy', 1)} ({_points(better, 'gain')}), "
        f"p95 {number(better, 'latency_p95_ms')} ms"
    )
    yield f"  would exceed   {_further(better)}"
    yield f"  if forced      {met(better)}, {_points(better, 'weighted_gain')} of weighted accuracy in all"
    if better.get("broken"):
        yield f"  still exceeds  {_excesses(better, 'broken')}"
    for other in better.get("cost") or []:
        yield f"  costs          {text(other, 'app')}: {_points(other, 'gain')}, {met(other)}{_later(other)}"


def _runner_up(answer: Answer) -> Iterator[str]:
    runner_up = answer.get("runner_up")
    if not runner_up:
        yield "runner-up    none: there is one route"
        return
    yield (
        f"runner-up    {_whole_route(runner_up)}: accuracy {share(runner_up, 'accuracy', 1)}, "
        f"p95 {number(runner_up, 'latency_p95_ms')} ms ({met(runner_up)})"
    )
    yield f"  in all         {_points(runner_up, 'weighted_gain')} of weighted accuracy"
    if runner_up.get("forbidden_by"):
        yield f"  would exceed   {_further(runner_up)}"


def whatif(answer: Answer) -> str:
    """What would be different, app by app beside what is, and in all."""
    rows = answer.get("apps") or []
    held_back = [plain(answer.get("held_back")), ""] if answer.get("held_back") else []
    tables = [lined_up(_APPS, rows), ""] if rows else []
    said = [f"what if {'; '.join(map(plain, answer.get('edits') or [])) or 'nothing were different'}", ""]
    sentences = [plain(sentence) for sentence in answer.get("sentences") or []]
    totals = [lined_up(_TOTALS, list(_totals(answer))), *_binding(answer), ""]
    return "\n".join([*said, *held_back, *tables, *totals, *sentences, "nothing is changed"])


def _totals(answer: Answer) -> Iterator[Answer]:
    """One row for each value of all apps."""
    before, after = answer.get("before") or {}, answer.get("after") or {}
    cells: dict[str, Callable[[Answer], str]] = {
        "objective": lambda plan: text(plan, "objective"),
        "weighted accuracy": lambda plan: share(plan, "weighted_accuracy", 1),
        "memory": lambda plan: f"{size(plan, 'memory_bytes')} of {size(plan, 'memory_limit_bytes')}",
        "lanes used": lambda plan: share(plan, "utilisation"),
    }
    for name, cell in cells.items():
        yield {"name": name, "before": cell(before), "after": cell(after)}


def _binding(answer: Answer) -> Iterator[str]:
    for side, when in (("before", "now"), ("after", "then")):
        yield f"binding {when:<4}  {listed((answer.get(side) or {}).get('binding'))}"


# Cells.


def _whole_route(row: Answer) -> str:
    exits = policy(row)
    return route(row) if exits == MISSING else f"{route(row)} [{exits}]"


def _budget(answer: Answer) -> str:
    at = answer.get("percentile", DEFAULT_PERCENTILE)
    return f"{time_limit(answer, 'budget_ms')} ms" + ("" if at == DEFAULT_PERCENTILE else f" at p{at:g}")


def _latency(row: Answer) -> str:
    return f"p95 {number(row, 'latency_p95_ms')} ms ({met(row)})"


def _above_0(row: Answer, key: str) -> bool:
    value = row.get(key)
    return isinstance(value, int | float) and value > _NOTHING


_NOTHING = 5e-5
"""What is less than this is shown as 0."""


def _or_none(row: Answer, key: str) -> str:
    return "none, the lanes are overloaded" if row.get(key) is None else f"{number(row, key)} ms"


def _points(row: Answer, key: str) -> str:
    """A difference of two shares, in points."""
    value = row.get(key)
    if not isinstance(value, int | float):
        return MISSING
    return f"{100 * value:+.2f} points" if abs(value) > _NOTHING else "0 points"


def _bought(row: Answer) -> str:
    """What is loosened for an app may also let it give something up for the others."""
    points = _points(row, "gain")
    return f"gives up {points[1:]}" if points.startswith("-") and points != MISSING else points


def _excesses(row: Answer, key: str) -> str:
    return ", ".join(f"{text(e, 'limit')} by {excess(e)}" for e in row.get(key) or []) or "nothing"


def _further(row: Answer) -> str:
    """What would be exceeded beyond what is exceeded now."""
    return ", ".join(map(_added, row.get("forbidden_by") or [])) or "nothing"


def _added(row: Answer) -> str:
    already = (row.get("share") or 0.0) - (row.get("added") or 0.0) >= TOLD_SHARE
    return f"{text(row, 'limit')} by {excess(row, 'added')}{' more' if already else ''}"


def _later(row: Answer) -> str:
    """By how much more an app would miss its budget, where that changes."""
    relief_ms = row.get("relief_ms") or 0.0
    return f" ({-relief_ms:+.1f} ms)" if abs(relief_ms) >= _NOTICED_MS else ""


_NOTICED_MS = 0.05


def _limit(row: Answer, key: str) -> str:
    """The value of a limit in its unit."""
    kind = text(row, "limit").partition(":")[0]
    if kind == "memory":
        return size(row, key)
    if kind == "budget":
        return f"{time_limit(row, key)} ms"
    return f"{number(row, key)} W" if kind == "power" else share(row, key, 1)


def _side(row: Answer, cell: Callable[[Answer], str]) -> str:
    """What a cell is, and what it would be where that is something else; of an app that joins what it would be."""
    sides = [cell(row[side]) for side in ("before", "after") if row.get(side)]
    return " -> ".join(dict.fromkeys(sides)) or MISSING


def _app(row: Answer) -> str:
    return text(row, "app") + ("" if row.get("before") else " (joins)")


_RELAXED: tuple[Column, ...] = (
    ("LIMIT THAT BINDS", lambda row: text(row, "limit")),
    ("IS", lambda row: _limit(row, "before")),
    ("A TENTH LOOSER", lambda row: _limit(row, "after")),
    ("BUYS THIS APP", _bought),
    ("LESS LATE BY ms", lambda row: number(row, "relief_ms")),
    ("BUYS ALL TOGETHER", lambda row: _points(row, "weighted_gain")),
)

_APPS: tuple[Column, ...] = (
    ("APP", _app),
    ("BUDGET ms", lambda row: _side(row, lambda plan: time_limit(plan, "budget_ms"))),
    ("p95 ms", lambda row: _side(row, lambda plan: number(plan, "latency_p95_ms"))),
    ("BUDGET IS MET", lambda row: _side(row, met)),
    ("ACCURACY", lambda row: _side(row, lambda plan: share(plan, "accuracy", 1))),
    ("ROUTE", lambda row: _side(row, _whole_route)),
)

_TOTALS: tuple[Column, ...] = (
    ("IN ALL", lambda row: text(row, "name")),
    ("NOW", lambda row: text(row, "before")),
    ("THEN", lambda row: text(row, "after")),
)
