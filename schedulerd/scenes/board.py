"""The board of a scene: its sensors stand where the scene wants them at every moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from schedulerd.config import LimitsConfig
from schedulerd.scenes import script
from schedulerd.scenes.memory import PlayedMemory
from schedulerd.scenes.script import Ramp, Restore
from schedulerd.scenes.sensors import Sensors
from schedulerd.scenes.tracks import Room, Slope, Tracks, Warmth

_MEMORY = (script.MEMORY, script.CGROUP)


class Use(NamedTuple):
    """What the daemon's blocks take."""

    live_bytes: float
    """Of those that routes run."""
    resident_bytes: float


class Board:
    """Moves sensors; one thread uses it."""

    def __init__(
        self,
        played: frozenset[str],
        sensors: Sensors,
        memory: PlayedMemory,
        limits: LimitsConfig,
        use: Callable[[], Use],
        cpu_s: Callable[[], float],
        warmth: Warmth,
        start_use_bytes: float | None = None,
    ) -> None:
        """A board at rest.

        Args:
            played: sensors that the scene moves.
            sensors: their files.
            memory: of the daemon.
            limits: `[limits]` of its configuration.
            use: what its blocks take now.
            cpu_s: processor seconds that it took so far.
            warmth: what they do to the thermal zone.
            start_use_bytes: what memory is a share of; None takes what blocks take when it is first played.
        """
        self._tracks = Tracks(played)
        self._sensors = sensors
        self._memory = memory
        self._limits = limits
        self._use = use
        self._cpu_s = cpu_s
        self._warmth = warmth
        self._celsius: float | None = None
        self._cpu_before_s = cpu_s()
        self._rooms: dict[str, Room] = {}
        self._ticked_s: float | None = None
        self.start_use_bytes = start_use_bytes

    @property
    def out_of_memory(self) -> int:
        """How often the daemon held more than it was left."""
        return self._memory.out_of_memory

    def values(self, now_s: float) -> Mapping[str, float]:
        """Where the sensors stand, the thermal zone that follows from its surroundings among them."""
        felt = {} if self._celsius is None else {script.TEMPERATURE: self._celsius}
        return {**self._tracks.values(now_s), **felt}

    def begin(self, ramp: Ramp, now_s: float) -> Slope:
        """A ramp begins."""
        if ramp.what in _MEMORY and ramp.what not in self._rooms:
            self._rooms[ramp.what] = self._room(ramp.what)
        return self._tracks.begin(ramp, now_s)

    def restore(self, action: Restore) -> None:
        """A sensor is at rest."""
        self._tracks.restore(action)
        if action.what in _MEMORY:
            self._memory.show(action.what, None, 0.0)

    def tick(self, now_s: float) -> None:
        """Bring all sensors up to date."""
        passed_s = 0.0 if self._ticked_s is None else now_s - self._ticked_s
        self._ticked_s = now_s
        for what, value in self._tracks.values(now_s).items():
            if what == script.TEMPERATURE:
                self._sensors.temperature(value)
            elif what == script.AMBIENT:
                self._warm(value, passed_s)
            elif what == script.CLOCK:
                self._sensors.clock(value)
            elif what == script.STALL:
                self._sensors.stall(value, passed_s)
            elif self._tracks.moved(what):
                self._memory.show(what, self._rooms[what], value)

    def _warm(self, ambient_c: float, passed_s: float) -> None:
        cpu_s = self._cpu_s()
        busy_cores = (cpu_s - self._cpu_before_s) / passed_s if passed_s > 0 else 0.0
        self._cpu_before_s = cpu_s
        self._celsius = self._warmth.after(passed_s, ambient_c, busy_cores)
        self._sensors.temperature(self._celsius)

    def _room(self, what: str) -> Room:
        use = self._use()
        if self.start_use_bytes is None:
            self.start_use_bytes = use.live_bytes
        return Room(self.start_use_bytes, use.resident_bytes, self._memory.used_bytes(what), self._limits)
