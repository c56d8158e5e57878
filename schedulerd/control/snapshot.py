"""What the board can give at one instant, frozen. A reading that could not be had is None, never zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schedulerd.control.readings import (
    Battery,
    Core,
    Gpu,
    Interface,
    PeerPath,
    Pressure,
    Rail,
    Throttle,
    Zone,
)


@dataclass(frozen=True, slots=True)
class Unread:
    """A source that failed, and why."""

    source: str
    reason: str
    since_s: float = 0.0
    """Monotonic seconds of its first failure in a row."""
    retry_at_s: float = 0.0
    """When it is asked again; until then the reason is the last one."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a reading comes from."""

    source: str
    at_s: float
    """Monotonic seconds of when it was made; a source that is read seldom gives older ones."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Readings of all sources at `at_s` (monotonic seconds)."""

    at_s: float
    cpu_count: int
    cpu_busy: float | None = None
    """Share of all cores in use by anybody, 0 to 1, during the last second or so."""
    cpu_own: float | None = None
    """Share of all cores in use by this process, 0 to 1, during the same time."""
    cpu_nice: float | None = None
    """Share of all cores in use by processes that make way for this one: they have a higher nice value."""
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    """Minimum of /proc/meminfo's MemAvailable and what the ancestors' cgroup limits leave."""
    memory_own_bytes: int | None = None
    """Resident set of this process."""
    memory_cgroup_bytes: int | None = None
    """What the memory limits of our cgroup and its ancestors leave; None where there is no such limit."""
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None
    memory_confined: bool | None = None
    """Whether the kernel can hold us to a memory limit; False on a kernel without the memory cgroup, as the Pi's."""
    pressure: Pressure | None = None
    cores: tuple[Core, ...] | None = None
    zones: tuple[Zone, ...] | None = None
    throttle: Throttle | None = None
    gpus: tuple[Gpu, ...] | None = None
    power_w: float | None = None
    """Of the whole board, where one of its rails is that."""
    rails: tuple[Rail, ...] | None = None
    interfaces: tuple[Interface, ...] | None = None
    peer: PeerPath | None = None
    battery: Battery | None = None
    unread: tuple[Unread, ...] = ()
    """Sources that could not be read this time."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """By field, where each reading that is not None comes from."""

    def age_s(self, name: str) -> float | None:
        """How old the reading of a field is; None where there is none."""
        origin = self.origins.get(name)
        return None if origin is None else self.at_s - origin.at_s

    @property
    def cpu_others(self) -> float | None:
        """Share of all cores that other processes take from this one, 0 to 1.

        Those that make way do not count, and what this daemon measures in the background is among them.
        """
        if self.cpu_busy is None or self.cpu_own is None:
            return None
        return max(0.0, self.cpu_busy - self.cpu_own - (self.cpu_nice or 0.0))
