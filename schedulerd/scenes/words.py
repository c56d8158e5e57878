"""Actions and phases in words, as a person would do them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from schedulerd.scenes import script
from schedulerd.scenes.cast import Role
from schedulerd.scenes.script import Action, Budget, Hogs, Join, Leave, Limit, Phase, Ramp

_SENSORS: Mapping[str, str] = {
    script.TEMPERATURE: "the board's temperature",
    script.AMBIENT: "the temperature around the board",
    script.CLOCK: "the clock of all cores",
    script.MEMORY: "the memory that others leave",
    script.CGROUP: "the memory limit of the daemon's cgroup",
    script.STALL: "the time lost to memory pressure",
}


def described(phase: Phase, roles: Mapping[str, Role], cores: int) -> str:
    """What a phase is about."""
    return phase.what or "; ".join(told(cue.action, roles, cores) for cue in phase.cues) or "nothing happens"


def told(action: Action, roles: Mapping[str, Role], cores: int) -> str:
    """One action."""
    if isinstance(action, Budget):
        return f"schedctl budget {action.app} {budget_ms(action, roles[action.app]):g}ms"
    if isinstance(action, Join):
        return f"{action.app} joins"
    if isinstance(action, Leave):
        return f"{action.app} leaves"
    if isinstance(action, Hogs):
        count = hog_count(action, cores)
        return "the CPU hogs leave" if count == 0 else f"{count} CPU hog{'s' if count > 1 else ''}, on {cores} cores"
    if isinstance(action, Limit):
        return f"schedctl limit memory {_limited(action)}"
    if isinstance(action, Ramp):
        start = "" if action.start is None else f" from {_value(action.what, action.start)}"
        over = f" in {action.over_s:g} s" if action.over_s else " at once"
        return f"{_SENSORS[action.what]} goes{start} to {_value(action.what, action.to)}{over}"
    return f"{_SENSORS[action.what]} is as before"


def budget_ms(action: Budget, role: Role) -> float:
    """What an app's budget is moved to."""
    return action.budget_ms or action.times * role.budget_ms


def hog_count(action: Hogs, cores: int) -> int:
    """How many hogs there are to be on so many cores."""
    return math.ceil(action.per_core * cores) if action.count is None else action.count


def _limited(limit: Limit) -> str:
    if limit.squeeze is not None:
        return f"{limit.squeeze:.0%} of the way down to the least possible"
    return "auto" if limit.memory_bytes is None else f"{limit.memory_bytes / 1e6:g}MB"


def _value(what: str, value: float) -> str:
    if what in (script.TEMPERATURE, script.AMBIENT):
        return f"{value:g} °C"
    if what in (script.MEMORY, script.CGROUP):
        return f"{value:.0%} of what the blocks took"
    return f"{value:.0%}"
