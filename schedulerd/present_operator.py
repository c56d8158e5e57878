"""What came of what operators do, and what they have set, as text for people. Pure; absent values read `-`."""

from __future__ import annotations

from schedulerd.cells import (
    MISSING,
    Answer,
    Column,
    lined_up,
    listed,
    met,
    number,
    plain,
    share,
    size,
    text,
    time_limit,
)


def reload(answer: Answer) -> str:
    """Which keys are in force, which wait for a restart, and the plan that followed."""
    applied, restart = answer.get("applied") or [], answer.get("restart") or []
    if not applied and not restart:
        return "the configuration is as it was"
    lines = [f"applied        {_change(row)}" for row in applied]
    lines += [f"needs restart  {_change(row)}" for row in restart]
    lines += [f"note           {plain(note)}" for note in answer.get("notes") or []]
    if answer.get("sentence"):
        lines.append(f"plan {text(answer, 'plan')}: {text(answer, 'sentence')}")
    return "\n".join(lines)


def _change(row: Answer) -> str:
    return f"[{text(row, 'section')}] {text(row, 'key')}: {text(row, 'before')} -> {text(row, 'after')}"


def log_level(answer: Answer) -> str:
    """The level in force, and what else there is."""
    return f"log level {text(answer, 'level')}; there are {listed(answer.get('choices'))}"


def overrides(answer: Answer) -> str:
    """What is set for all apps, a line for each app, and whether it outlives the daemon."""
    apps, lines = answer.get("apps") or [], []
    if answer.get("objective") is not None:
        lines.append(f"objective  {text(answer, 'objective')}")
    if answer.get("memory_bytes") is not None:
        lines.append(f"memory     {size(answer, 'memory_bytes')}")
    if apps:
        wanted = [column for column, keys in _OVERRIDES if not keys or any(row.get(k) for row in apps for k in keys)]
        lines.append(lined_up(wanted, apps))
    return "\n".join([*(lines or ["nothing is set"]), *kept(answer)])


def of_app(answer: Answer, now: str) -> str:
    """What an edit of one app led to. Args: answer; now: what is in force."""
    lines = [
        f"{text(answer, 'app')}: {now}, plan {text(answer, 'plan')} in {number(answer, 'apply_ms')} ms",
        text(answer, "sentence"),
        f"predicted p95 {number(answer, 'latency_p95_ms')} ms ({met(answer)}), accuracy {share(answer, 'accuracy', 1)}",
    ]
    if answer.get("nearest_budget_ms") is not None:
        lines.append(f"the least budget that can be met: {number(answer, 'nearest_budget_ms')} ms")
    return "\n".join([*lines, *kept(answer)])


def priority(answer: Answer) -> str:
    """What an edited priority led to."""
    return of_app(answer, f"priority {text(answer, 'priority')}")


def pins(answer: Answer) -> str:
    """What pinning, or freeing, led to."""
    said = of_app(answer, f"pinned {_pinned(answer)}" if _is_held(answer) else "nothing pinned")
    return "\n".join([said, *_unmet(answer)])


def held(row: Answer) -> list[str]:
    """Lines on what of an app's route is pinned; none where nothing is."""
    if not _is_held(row):
        return []
    return [f"{text(row, 'app')} is pinned to {_pinned(row)}", *_unmet(row)]


def _is_held(row: Answer) -> bool:
    return bool(row.get("pins") or row.get("pinned_exits"))


def _pinned(row: Answer) -> str:
    pins, exits = row.get("pins") or {}, row.get("pinned_exits") or {}
    said = [f"{block}={variant}" for block, variant in pins.items()]
    steps = [f"{name}>={threshold:g}" if threshold else f"{name}" for name, threshold in exits.items()]
    return listed([*said, *([f"exits {' '.join(steps)}"] if steps else [])])


def _unmet(row: Answer) -> list[str]:
    return [f"  a pin is not followed now: {plain(sentence)}" for sentence in row.get("unmet_pins") or []]


def drained(answer: Answer) -> str:
    """Who gets no work, and what of them is still in flight."""
    return f"drained: {listed(answer.get('drained'))}\n{text(answer, 'sentence')}"


def resumed(answer: Answer) -> str:
    """Who gets work again."""
    return f"resumed: {listed(answer.get('resumed'))}\n{text(answer, 'sentence')}"


def drains(answer: Answer) -> list[tuple[str, str]]:
    """A labelled line for `status` on who is drained; none where nobody is."""
    held = [*(answer.get("drained") or []), *(["whoever registers"] if answer.get("drained_all") else [])]
    return [("drained", f"{listed(held)} (schedctl resume)")] if held else []


def dropped(answer: Answer) -> str:
    """What followed."""
    return "\n".join([f"plan {text(answer, 'plan')}: {text(answer, 'sentence')}", *kept(answer)])


def kept(answer: Answer) -> list[str]:
    """A line where what is set does not outlive the daemon; nothing from a daemon that does not say."""
    if answer.get("kept") is not False:
        return []
    return [f"this holds until the daemon stops, and is not kept: {text(answer, 'kept_reason')}"]


def _priority(row: Answer) -> str:
    registered = row.get("registered_priority")
    return text(row, "priority") + (f" (asks for {plain(registered)})" if registered is not None else "")


_OVERRIDES: tuple[tuple[Column, tuple[str, ...]], ...] = (
    (("APP", lambda row: text(row, "app")), ()),
    (("BUDGET ms", lambda row: time_limit(row, "budget_ms")), ()),
    (("REGISTERED ms", lambda row: time_limit(row, "registered_budget_ms")), ()),
    (("PRIORITY", _priority), ("priority",)),
    (("PINNED", lambda row: _pinned(row) if _is_held(row) else MISSING), ("pins", "pinned_exits")),
    (("", lambda row: "" if row.get("registered_budget_ms") is not None else "not connected"), ()),
)
"""With the keys without which a column is left out where no row has one of them."""
