"""A configuration that was read again, as the control loop takes it in: between two plans, as an operator's edit.

The files are read elsewhere (`schedulerd.reloading`), as that waits for a disk; what they came to arrives here as an
event. One that is bad changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from schedulerd.config import Config
from schedulerd.config_changes import Change, Changes, compared
from schedulerd.control.board_watch import BoardWatch
from schedulerd.control.occasions import Cause
from schedulerd.control.planner import Planner, PlannerSettings
from schedulerd.errors import SchedulerdError
from schedulerd.optimizer.damping import DampingSettings
from schedulerd.serving.events import Asked, Event

log = structlog.get_logger(__name__)

_DECISIVE: Final = ("limits", "objective")
"""Section, or key, of which a change may make another plan the best."""


@dataclass(frozen=True, slots=True)
class Reread:
    """The configuration was read again."""

    outcome: Config | SchedulerdError
    """What it says, or what is wrong with it."""
    asked: Asked | None = None
    """Who waits for an answer; None for a signal."""


LoopEvent = Event | Reread
"""What the control loop takes in."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The configuration in force, and who has to do with another one."""

    config: Config
    read_again: Callable[[Asked], None]
    """Begins what ends with a `Reread` event."""
    apply: Callable[[Config, Config], None]
    """Applies what lies outside of the control loop, before and after; it must not raise."""
    done: Callable[[SchedulerdError | None], None]
    """Is told at the end, with what was wrong."""


def answerable(events: Sequence[LoopEvent]) -> list[Event]:
    """Of events that no control loop takes in any more, those of others; of a reload, who asked for it."""
    told = [event.asked if isinstance(event, Reread) else event for event in events]
    return [event for event in told if event is not None]


class Reloads:
    """Applies configurations; the control thread is the only caller."""

    def __init__(
        self,
        configured: Configured,
        planner: Planner,
        board: BoardWatch,
        publish: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        """Args: configured: so far; planner; board: both follow it; publish: sends an event of a kind with its body."""
        self._configured = configured
        self._planner = planner
        self._board = board
        self._publish = publish

    def read_again(self, event: Asked) -> None:
        """An operator wants it."""
        self._configured.read_again(event)

    def taken_in(self, event: Reread) -> tuple[Cause | None, Changes]:
        """Why a plan has to be made, if it has, and what changed. Raises what is wrong with the configuration."""
        if isinstance(event.outcome, SchedulerdError):
            log.error("reload_refused", reason=str(event.outcome), remedy="the configuration before stays in force")
            self._publish("reload", {"applied": [], "restart": [], "error": str(event.outcome)})
            raise event.outcome
        changes = compared(self._configured.config, event.outcome)
        self._use(changes.config)
        applied, restart = list(map(str, changes.applied)), list(map(str, changes.restart))
        log.info("reloaded", applied=applied, needs_restart=restart)
        self._publish("reload", {"applied": applied, "restart": restart, "error": None})
        return _cause(changes.applied), changes

    def done(self, error: SchedulerdError | None) -> None:
        """What was taken in is in force, or was refused for an error; the plan that follows is in place."""
        self._configured.done(error)

    def _use(self, config: Config) -> None:
        before, self._configured = self._configured.config, replace(self._configured, config=config)
        self._planner.settings = planner_settings(config, self._planner.settings.lanes)
        self._board.configure(config.limits)
        self._configured.apply(before, config)


def planner_settings(config: Config, lanes: int) -> PlannerSettings:
    """What the configuration says about deciding, on so many lanes."""
    damping = DampingSettings(config.control.min_dwell_s, config.control.min_gain)
    return PlannerSettings(config.limits, lanes, damping, config.solver.objective, config.control.decide_within_s)


def reload_map(changes: Changes) -> dict[str, Any]:
    """What changed, as it travels in the answer to `reload`."""
    return {"applied": _rows(changes.applied), "restart": _rows(changes.restart)}


def _rows(changes: Sequence[Change]) -> list[dict[str, str]]:
    return [change._asdict() for change in changes]


def _cause(applied: Sequence[Change]) -> Cause | None:
    """What an operator wrote is as urgent as what he types."""
    said = ", ".join(str(change) for change in applied if {change.section, change.key} & set(_DECISIVE))
    return Cause(f"configuration: {said}", urgent=True) if said else None
