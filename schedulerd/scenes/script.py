"""A scene as frozen values: who asks for what, and what is done to the board, phase by phase. Pure.

`read` makes these of a file. Budgets, rates and floors may follow from what the models cost on this board, so that a
scene is as hard on a small one as on a large one; `cast` turns those into numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from schedulerd.errors import SchedulerdError

TEMPERATURE, AMBIENT, CLOCK, MEMORY, CGROUP, STALL = "temperature", "ambient", "clock", "memory", "cgroup", "stall"
SENSORS: Final = (TEMPERATURE, AMBIENT, CLOCK, MEMORY, CGROUP, STALL)
"""What a ramp can move. `temperature`: °C of a thermal zone. `ambient`: °C around the board, whose zone is warmer the
more the daemon computes. `clock`: of all cores, as a share of their highest.
`memory` and `cgroup`: what the board has left, or a limit of the daemon's cgroup leaves, so that the apps' blocks may
take this share of what they took when it was first played. `stall`: share of time in which tasks wait for memory."""
RESTING: Final[Mapping[str, float]] = {
    TEMPERATURE: 45.0,
    AMBIENT: 25.0,
    CLOCK: 1.0,
    MEMORY: 2.0,
    CGROUP: 2.0,
    STALL: 0.0,
}
"""Where a sensor begins, and is restored to."""
WORSE_UPWARDS: Final = frozenset((TEMPERATURE, AMBIENT, STALL))
"""The others are worse the lower they are."""


class SceneFailed(SchedulerdError):
    """A process of a scene did not do its part."""


class KilledForMemory(SceneFailed):
    """The kernel ended the daemon, because it held more than it was left."""


@dataclass(frozen=True, slots=True)
class ClientScript:
    """One client. Of each pair, the second is taken where the first is None."""

    app: str
    model: str | int
    """Its name, or its place among the store's usable models in order of name, from 1."""
    budget_ms: float | None = None
    budget_over_lossless: float = 4.0
    """Times the p95 of the quickest route that loses no accuracy."""
    rate_hz: float | None = None
    lane_share: float = 0.2
    """Of one lane on that route."""
    most_hz: float = 1000.0
    """What its camera gives at most."""
    floor: float | None = None
    floor_below_full: float = 1.0
    """Accuracy under the full model's that is still acceptable."""
    priority: int = 5
    late: str = "run"
    exits: str = "open"
    """`early`: it insists on the policy of least loss that lets easy frames leave; `open`: the daemon chooses."""
    joins: bool = True
    """Whether it is there from the beginning."""


@dataclass(frozen=True, slots=True)
class Budget:
    """An operator moves an app's budget: to so many ms, or to so many times the first one."""

    app: str
    budget_ms: float | None = None
    times: float = 1.0


@dataclass(frozen=True, slots=True)
class Join:
    """A client comes."""

    app: str


@dataclass(frozen=True, slots=True)
class Leave:
    """A client goes."""

    app: str


@dataclass(frozen=True, slots=True)
class Hogs:
    """From now on so many programs use a core each: `count`, or so many for each core."""

    count: int | None = None
    per_core: float = 1.0
    matters: bool = True
    """Whether a plan has to follow: on a board with a core to spare, one hog may disturb nobody."""


@dataclass(frozen=True, slots=True)
class Limit:
    """An operator moves the memory limit: to a size, by `squeeze`, or back to the configuration where both are None."""

    memory_bytes: int | None = None
    squeeze: float | None = None
    """How far from what the plans took so far down to the least that the apps can run in, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A sensor goes to a value, at an even pace."""

    what: str
    to: float
    start: float | None = None
    """Key `from`; None begins where the sensor stands."""
    over_s: float = 0.0
    matters: float | None = None
    """The value from which a plan has to follow: reaction times count from there."""


@dataclass(frozen=True, slots=True)
class Restore:
    """A sensor is at once where it was before the scene moved it."""

    what: str


Action = Budget | Join | Leave | Hogs | Limit | Ramp | Restore


@dataclass(frozen=True, slots=True)
class Cue:
    """An action, and when in its phase."""

    at_s: float
    action: Action


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of a scene."""

    name: str
    seconds: float
    what: str = ""
    """For people; empty has it made of the actions."""
    steady: bool = False
    """Nothing happens in it, and it has settled: plans should stand still."""
    cues: tuple[Cue, ...] = ()
    """By rising time."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is played."""

    title: str
    clients: tuple[ClientScript, ...]
    phases: tuple[Phase, ...]
    store: str = "demo"
    """`demo`, or a directory."""
    trip_c: float = 80.0
    """Where the played thermal zone's passive trip point is."""
    per_core_c: float = 30.0
    """By how much the zone gets warmer than its surroundings while the daemon keeps one core busy."""
    heats_up_s: float = 15.0
    """Time constant with which it does."""
    daemon: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Sections of the daemon's configuration."""

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def sensors(self) -> frozenset[str]:
        """What is played in place of the board's own."""
        actions = [cue.action for phase in self.phases for cue in phase.cues]
        return frozenset(a.what for a in actions if isinstance(a, Ramp | Restore))


def scaled(scene: Scene, factor: float) -> Scene:
    """The same scene, `factor` times as long; rates and budgets are as they were."""
    return replace(scene, phases=tuple(_scaled(phase, factor) for phase in scene.phases))


def _scaled(phase: Phase, factor: float) -> Phase:
    cues = tuple(Cue(cue.at_s * factor, _slower(cue.action, factor)) for cue in phase.cues)
    return replace(phase, seconds=phase.seconds * factor, cues=cues)


def _slower(action: Action, factor: float) -> Action:
    return replace(action, over_s=action.over_s * factor) if isinstance(action, Ramp) else action
