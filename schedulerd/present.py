"""The daemon's answers as text for people: aligned tables and short lines. Pure; absent values read `-`."""

from __future__ import annotations

from collections.abc import Mapping

from schedulerd import present_board, present_operator
from schedulerd.cells import (
    MISSING,
    Answer,
    Column,
    duration,
    excess,
    lined_up,
    listed,
    met,
    number,
    pair,
    plain,
    policy,
    route,
    share,
    size,
    text,
    time_limit,
)
from schedulerd.commands.tables import count_text
from schedulerd.wire.messages import DEFAULT_PERCENTILE, FINAL


def status(answer: Answer) -> str:
    """A block of labelled lines."""
    states = answer.get("states") or {}
    lines = [
        (
            "schedulerd",
            f"{text(answer, 'version')}, {_ready(answer)}, pid {text(answer, 'pid')}, "
            f"up {duration(answer, 'uptime_s')}",
        ),
        ("engine", f"{text(answer, 'engine')}, {_lanes(answer)}"),
        *_reasons(answer),
        ("plan", f"{text(answer, 'plan')} for {_counted(answer.get('apps'), 'app')}"),
        *present_operator.drains(answer),
        (
            "requests",
            f"{text(answer, 'requests')} answered, {text(answer, 'misses')} late, {text(answer, 'refused')} refused, "
            f"{text(answer, 'swaps')} route changes{_loads(answer)}",
        ),
        (
            "blocks",
            f"{size(answer, 'resident_bytes')} of {size(answer, 'memory_limit_bytes')} allowed{_states(states)}",
        ),
        *present_board.limits(answer),
        ("memory", f"{size(answer, 'rss_bytes')} daemon, {size(answer, 'memory_available_bytes')} free on the board"),
        (
            "processor",
            f"{share(answer, 'cpu_busy')} busy, {share(answer, 'cpu_others')} by others; "
            f"blocks take {number(answer, 'slowdown', 2)} times their profile "
            f"({number(answer, 'slowdown_p95', 2)} at the 95th percentile)",
        ),
    ]
    lines += present_board.board(answer)
    dropped = [f"{what} {count}" for what, count in (answer.get("dropped") or {}).items() if count]
    if dropped:
        lines.append(("dropped", ", ".join(dropped)))
    return "\n".join(f"{label:<10}  {line}" for label, line in lines)


def apps(answer: Answer) -> str:
    """One line per app, and for each that has exits how many of its frames left early in the last minute."""
    rows = answer.get("apps")
    if not rows:
        return "no apps; a client joins with register()"
    notes = [line for row in rows for line in (_history(row), *present_operator.held(row)) if line]
    return "\n".join([lined_up(_APPS, rows), *notes])


def plan(answer: Answer) -> str:
    """Why the plan is as it is, one line per app, and the variants of each route."""
    rows = answer.get("apps") or []
    why = [
        f"plan {text(answer, 'number')}: {text(answer, 'sentence')}",
        f"cause     {text(answer, 'cause')}",
        f"decided   {_proof(answer)}; "
        f"{number(answer, 'solve_ms')} ms to solve, {number(answer, 'apply_ms')} ms to apply",
        *([f"note      {text(answer, 'note')}"] if answer.get("note") else []),
        f"best is   {text(answer, 'objective')}; weighted accuracy {share(answer, 'weighted_accuracy', 1)}",
        f"memory    {size(answer, 'memory_bytes')} of {size(answer, 'memory_limit_bytes')}",
        f"lanes     {share(answer, 'utilisation')} used",
        f"binding   {listed(answer.get('binding'))}",
        *(f"exceeded  {text(broken, 'limit')} by {excess(broken)}" for broken in answer.get("broken") or []),
    ]
    blocks = [f"{text(row, 'app')}: {', '.join(map(_block, row.get('blocks') or []))}{_pinned(row)}" for row in rows]
    tables = ["", lined_up(_PLAN, rows), "", *blocks] if rows else []
    return "\n".join(why + tables)


def _pinned(row: Answer) -> str:
    return f"; pinned: {listed(row['pins'])}" if row.get("pins") else ""


def _proof(answer: Answer) -> str:
    """How good the plan is known to be, after the word for it (clients/PROTOCOL.md)."""
    status, gap = text(answer, "status"), answer.get("gap")
    if status == "optimal":
        return "optimal: no plan is better"
    if not isinstance(gap, int | float):
        return f"{status}: how far from the best is not known"
    return f"{status}: at most {100 * gap:.2g}% from the best"


def models(answer: Answer) -> str:
    """One line per model."""
    rows = answer.get("models")
    return (
        lined_up(_MODELS, rows) if rows else "the store is empty; see `schedulerd build` and `schedulerd store import`"
    )


def budget(answer: Answer) -> str:
    """What an edited budget led to."""
    return present_operator.of_app(answer, f"budget {plain(answer.get('budget_ms'))} ms")


def limit(answer: Answer) -> str:
    """What an edited limit led to."""
    return (
        f"memory limit {size(answer, 'memory_limit_bytes')}, plan {text(answer, 'plan')} "
        f"in {number(answer, 'apply_ms')} ms\n{text(answer, 'sentence')}{_unkept(answer)}"
    )


def _unkept(answer: Answer) -> str:
    return "".join(f"\n{line}" for line in present_operator.kept(answer))


def objective(answer: Answer) -> str:
    """What another objective led to."""
    return (
        f"objective {text(answer, 'objective')}, plan {text(answer, 'plan')} in {number(answer, 'apply_ms')} ms\n"
        f"{text(answer, 'sentence')}\nweighted accuracy {share(answer, 'weighted_accuracy', 1)}{_unkept(answer)}"
    )


def objectives(answer: Answer) -> str:
    """The objective in force, and what else there is."""
    return f"objective {text(answer, 'objective')}; there are {listed(answer.get('choices'))}"


def event(kind: str, at: float, body: Answer) -> str:
    """One line: local time, kind, and the sentence with what there is to note, or the values."""
    if "sentence" in body:
        said = text(body, "sentence") + (f" (note: {text(body, 'note')})" if body.get("note") else "")
    else:
        said = " ".join(f"{plain(k)}={_value(k, body)}" for k in body)
    from datetime import datetime  # only for events: `schedctl status` is to answer at once

    return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S.%f}  {plain(kind):<8}  {said}"


def _value(key: str, body: Answer) -> str:
    """One value of an event, in the unit that its key names."""
    value = body[key]
    if key.endswith("_bytes"):
        return size(body, key)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return listed(f"{name}={one}" for name, one in value.items())
    return listed(value) if isinstance(value, list | tuple) else plain(value)


def _counted(count: object, noun: str) -> str:
    return count_text(count, noun) if isinstance(count, int) else f"{MISSING} {noun}s"


def _ready(answer: Answer) -> str:
    ready = answer.get("ready")
    return MISSING if ready is None else "ready" if ready else "not ready"


def _lanes(answer: Answer) -> str:
    return f"{_counted(answer.get('lanes'), 'lane')} of {_counted(answer.get('threads_per_lane'), 'thread')}"


def _loads(answer: Answer) -> str:
    """How many plans that changed routes had to wait for a load."""
    warm, cold = answer.get("warm_swaps"), answer.get("cold_swaps")
    if not isinstance(warm, int) or not isinstance(cold, int) or not warm + cold:
        return ""
    return f" ({cold} of {warm + cold} plans had to load)"


def _reasons(answer: Answer) -> list[tuple[str, str]]:
    """Why there are so many lanes, where that was not configured."""
    return [("", f"chosen by {text(answer, 'lanes_reason')}")] if answer.get("lanes_reason") else []


def _states(states: Mapping[str, int]) -> str:
    return "".join(f", {plain(count)} {plain(state)}" for state, count in sorted(states.items()) if count)


def _budget(row: Answer) -> str:
    """With the percentile that it is about, where that is not the usual one."""
    of = row.get("percentile", DEFAULT_PERCENTILE)
    return time_limit(row, "budget_ms") + ("" if of == DEFAULT_PERCENTILE else f" at p{of:g}")


def _refused(row: Answer) -> str:
    refused = row.get("refused")
    return plain(sum(refused.values()) if isinstance(refused, Mapping) else refused)


def _history(row: Answer) -> str:
    """Share of the frames that left before the end, bin by bin; nothing for an app without exits."""
    bins = row.get("exit_history") or []
    early = [f"{1.0 - (b['shares'] or {FINAL: 1.0}).get(FINAL, 0.0):.0%}" for b in bins if b["frames"]]
    return f"{text(row, 'app')} left early, every 5 s of the last minute: {' '.join(early)}" if early else ""


def _exits(row: Answer) -> str:
    """Live share of the frames at each exit of the policy beside the expected one; `-` where all run to the end."""
    expected, seen = row.get("exit_shares") or {}, row.get("exit_rates") or {}
    if len(expected) < 2 and not set(seen) - {FINAL}:
        return MISSING
    return ", ".join(f"{plain(name)} {share(seen, name)} ({share(expected, name)})" for name in {**expected, **seen})


def _block(block: Answer) -> str:
    """Predicted and measured time, and where the row behind the prediction comes from, if not from timing it here."""
    from blockprofiles.record import MEASURED  # here for the same reason

    notes = [f"measured {number(block, 'measured_ms', 2)}"] if block.get("measured_ms") is not None else []
    if block.get("source", MEASURED) != MEASURED:
        notes.append(f"{text(block, 'source')} row, +-{share(block, 'uncertainty')}")
    said = f"{text(block, 'block')} {text(block, 'variant')} {number(block, 'ms', 2)} ms"
    return f"{said} ({', '.join(notes)})" if notes else said


_APPS: tuple[Column, ...] = (
    ("APP", lambda row: text(row, "app")),
    ("MODEL", lambda row: text(row, "model")),
    ("BUDGET ms", _budget),
    ("RATE Hz", lambda row: number(row, "rate_hz")),
    ("PRIORITY", lambda row: text(row, "priority")),
    ("PREDICTED p50 / p95", lambda row: pair(row, "latency_ms", "latency_p95_ms")),
    ("MEASURED p50 / p95", lambda row: pair(row, "measured_p50_ms", "measured_p95_ms")),
    ("BUDGET IS MET", met),
    ("ACCURACY", lambda row: share(row, "accuracy", 1)),
    ("LEAVE AT (expected)", _exits),
    ("REQUESTS", lambda row: text(row, "requests")),
    ("LATE", lambda row: text(row, "misses")),
    ("REFUSED", _refused),
    ("SWAPS", lambda row: text(row, "swaps")),
    ("ROUTE", lambda row: "drained" if row.get("drained") else route(row)),
)

_PLAN: tuple[Column, ...] = (
    ("APP", lambda row: text(row, "app")),
    ("PREDICTED p50 / p95 ms", lambda row: pair(row, "latency_ms", "latency_p95_ms")),
    ("MEASURED p50 / p95 ms", lambda row: pair(row, "measured_p50_ms", "measured_p95_ms")),
    ("BUDGET IS MET", met),
    ("ACCURACY", lambda row: share(row, "accuracy", 1)),
    ("MEMORY", lambda row: size(row, "memory_bytes")),
    ("ON AVERAGE (MEASURED) ms", lambda row: f"{number(row, 'expected_ms')} ({number(row, 'measured_mean_ms')})"),
    ("EXITS", policy),
    ("ROUTE", route),
)

_MODELS: tuple[Column, ...] = (
    ("MODEL", lambda row: text(row, "model")),
    ("INPUT", lambda row: text(row, "input")),
    ("ACCURACY", lambda row: share(row, "accuracy", 1)),
    ("BLOCKS", lambda row: text(row, "blocks")),
    ("VARIANTS", lambda row: text(row, "variants")),
    ("ROUTES", lambda row: text(row, "routes")),
)
