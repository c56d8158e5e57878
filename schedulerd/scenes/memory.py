"""A board whose memory is played: by a cgroup of the kernel, by files of one, or by meminfo."""

from __future__ import annotations

from collections.abc import Callable

from schedulerd.scenes import script
from schedulerd.scenes.groups import MemoryGroup
from schedulerd.scenes.sensors import Sensors
from schedulerd.scenes.tracks import Room


class PlayedMemory:
    """What the daemon is left, and how often it held more than that."""

    def __init__(self, sensors: Sensors, group: MemoryGroup | None, used: Callable[[], int]) -> None:
        """`used`: resident bytes of the daemon."""
        self._sensors = sensors
        self._group = group
        self._used = used
        self._exceeded = False
        self._out_of_memory = 0

    @property
    def out_of_memory(self) -> int:
        """Kills by the kernel, or times at which it would have killed."""
        return self._out_of_memory if self._group is None else self._group.kills()

    def used_bytes(self, what: str) -> int:
        """What the whole process holds, as the limit counts it."""
        return self._group.used_bytes() if self._is_real(what) and self._group is not None else self._used()

    def show(self, what: str, room: Room | None, share: float) -> None:
        """The daemon's blocks may have `share` of `room`; None takes every limit away."""
        used_bytes = self.used_bytes(what)
        total_bytes = None if room is None else room.total_bytes(share)
        if self._is_real(what) and self._group is not None:
            self._group.limit(total_bytes)
        elif what == script.CGROUP:
            self._sensors.limit(total_bytes, used_bytes)
        else:
            self._sensors.available(None if total_bytes is None else total_bytes - used_bytes)
        exceeded = total_bytes is not None and used_bytes > total_bytes
        self._out_of_memory += exceeded and not self._exceeded
        self._exceeded = exceeded

    def _is_real(self, what: str) -> bool:
        return what == script.CGROUP and self._group is not None
