"""What the board can give at one instant, frozen. A reading that could not be had is None, never zero."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unread:
    """A source that failed, and why."""

    source: str
    reason: str


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
    unread: tuple[Unread, ...] = ()
    """Sources that could not be read this time."""

    @property
    def cpu_others(self) -> float | None:
        """Share of all cores that other processes take from this one, 0 to 1.

        Those that make way do not count, and what this daemon measures in the background is among them.
        """
        if self.cpu_busy is None or self.cpu_own is None:
            return None
        return max(0.0, self.cpu_busy - self.cpu_own - (self.cpu_nice or 0.0))
