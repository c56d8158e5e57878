"""Whether a better plan is worth the change: pure, apart from deciding what is best."""

from __future__ import annotations

from dataclasses import dataclass

from schedulerd.plan import Plan, difference, relief


@dataclass(frozen=True, slots=True)
class DampingSettings:
    """How eagerly plans change when nobody asked."""

    min_dwell_s: float = 2.0
    """A plan that keeps its limits stands at least this long."""
    min_gain: float = 0.005
    """Weighted accuracy (0 to 1) that a change must bring."""
    min_relief: float = 0.02
    """Share of a limit by which a change must lower what is exceeded."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Keep the running plan, or change to the candidate."""

    change: bool
    reason: str


def keep_or_change(
    running: Plan, candidate: Plan, *, urgent: bool, since_change_s: float, settings: DampingSettings
) -> Decision:
    """Decide whether `candidate` replaces `running`.

    Args:
        running: the routes in use, predicted under the problem that `candidate` solves.
        candidate: the best plan for that problem.
        urgent: an app joined or left, or somebody changed a budget or a limit: never damped.
        since_change_s: how long the running plan has stood.
        settings: dwell and least gains.
    """
    if urgent:
        return Decision(True, "somebody asked for it")
    if {a.app_id for a in running.apps} != {a.app_id for a in candidate.apps}:
        return Decision(True, "the apps are others")
    if not difference(running, candidate):
        return Decision(False, "the routes are the same")
    relieved = relief(running.broken, candidate.broken, settings.min_relief)
    if relieved > 0:
        return Decision(True, f"the running plan exceeds {_names(running)}")
    if relieved < 0:
        return Decision(False, f"the new plan would exceed {_names(candidate)} further")
    if since_change_s < settings.min_dwell_s:
        return Decision(False, f"the running plan is {since_change_s:.1f} s old, under {settings.min_dwell_s:g} s")
    gain = candidate.weighted_accuracy - running.weighted_accuracy
    if gain < settings.min_gain:
        return Decision(False, f"gain of {gain:.4f} in weighted accuracy, under {settings.min_gain:g}")
    return Decision(True, f"gain of {gain:.4f} in weighted accuracy")


def _names(plan: Plan) -> str:
    return ", ".join(e.limit for e in plan.broken) or "nothing"
