"""What came of an operator's reload, and what operators have set, as text for people. Pure; absent values read `-`."""

from __future__ import annotations

from schedulerd.cells import Answer, Column, lined_up, plain, size, text, time_limit


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


def overrides(answer: Answer) -> str:
    """What is set for all apps, a line for each app, and whether it outlives the daemon."""
    apps, lines = answer.get("apps") or [], []
    if answer.get("objective") is not None:
        lines.append(f"objective  {text(answer, 'objective')}")
    if answer.get("memory_bytes") is not None:
        lines.append(f"memory     {size(answer, 'memory_bytes')}")
    if apps:
        lines.append(lined_up(_OVERRIDES, apps))
    return "\n".join([*(lines or ["nothing is set"]), *kept(answer)])


def dropped(answer: Answer) -> str:
    """What followed."""
    return "\n".join([f"plan {text(answer, 'plan')}: {text(answer, 'sentence')}", *kept(answer)])


def kept(answer: Answer) -> list[str]:
    """A line where what is set does not outlive the daemon; nothing from a daemon that does not say."""
    if answer.get("kept") is not False:
        return []
    return [f"this holds until the daemon stops, and is not kept: {text(answer, 'kept_reason')}"]


_OVERRIDES: tuple[Column, ...] = (
    ("APP", lambda row: text(row, "app")),
    ("BUDGET ms", lambda row: time_limit(row, "budget_ms")),
    ("REGISTERED ms", lambda row: time_limit(row, "registered_budget_ms")),
    ("", lambda row: "" if row.get("registered_budget_ms") is not None else "not connected"),
)
