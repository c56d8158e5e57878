"""Memory that frames travel in: rings of slots, each ring one sealed memfd that the daemon maps as well.

A slot is in use from the request that lies in it to its answer, which is known by its id, and for as long as an array
that was lent to the user lies in it. Rings outlive a connection: the next one has them offered again.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from mmap import PAGESIZE
from typing import Final, NamedTuple

import numpy as np

from schedulerd.wire import memfd
from schedulerd.wire.envelope import Frame
from schedulerd.wire.local import MAX_RING_BYTES, MAX_RINGS, Place

SLOTS: Final = 8
"""Of a ring; fewer where that many would be more than a ring may have."""


class Ring:
    """Slots of one size. OSError where there is no memory, or no descriptor left."""

    def __init__(self, number: int, size_bytes: int) -> None:
        self.number = number
        self.slot_bytes = -(-size_bytes // PAGESIZE) * PAGESIZE
        slots = min(SLOTS, MAX_RING_BYTES // self.slot_bytes)
        self.descriptor = memfd.create(slots * self.slot_bytes, "schedulerd-frames")
        # The memory lives as long as any array in it; the descriptor is only for offering the ring.
        self.close = weakref.finalize(self, os.close, self.descriptor)
        self.memory = memoryview(memfd.map_writable(self.descriptor))
        self.address = address_of(self.memory)
        self.offered = False
        """On this connection."""
        self.free = [*reversed(range(slots))]
        """The slot that was used last is the next one: its pages are there, and warm."""
        self._users = [0] * slots

    def take(self) -> Slot:
        """A free slot, which has one user now."""
        return self.share(self.free.pop())

    def share(self, index: int) -> Slot:
        """A slot, which has one user more."""
        self._users[index] += 1
        return Slot(self, index)

    def release(self, index: int) -> None:
        """One user less; after the last one the slot is free."""
        self._users[index] -= 1
        if not self._users[index]:
            self.free.append(index)


class Slot(NamedTuple):
    """Room for one frame."""

    ring: Ring
    number: int

    @property
    def offset(self) -> int:
        """Where it begins in its ring."""
        return self.number * self.ring.slot_bytes

    def release(self) -> None:
        """One user less."""
        self.ring.release(self.number)


class Rings:
    """The rings of one client, and who lies in them."""

    def __init__(self) -> None:
        self._rings: list[Ring] = []
        self._busy: dict[int, list[Slot]] = {}
        """By id, the requests of this connection without an answer."""
        self._lent = 0
        self._returned: deque[Slot] = deque()
        """Slots whose array is gone, which is told on whatever thread the collector runs."""

    def begin(self) -> None:
        """There is a new connection: it has been offered nothing, and nothing was asked on it."""
        self.all_answered()
        for ring in self._rings:
            ring.offered = False

    def place(self, request_id: int, frame: Frame) -> tuple[Ring, Place] | None:
        """Where the frame of a request lies until its answer comes; None where there is no room for it."""
        self._take_back()
        found = self._lent_slot(frame) if self._lent else None
        if found is not None:
            slot, offset = found
        else:
            ring = self._with_room(len(frame))
            if ring is None:
                return None
            slot = ring.take()
            offset = slot.offset
            ring.memory[offset : offset + len(frame)] = frame
        self._busy.setdefault(request_id, []).append(slot)
        return slot.ring, Place(len(frame), slot.ring.number, offset)

    @property
    def awaited(self) -> bool:
        """Whether any request lies here."""
        return bool(self._busy)

    def answered(self, request_id: int) -> None:
        """The daemon reads the frames of this request no more."""
        for slot in self._busy.pop(request_id, ()):
            slot.release()

    def all_answered(self) -> None:
        """As `answered`, for every request."""
        for request_id in tuple(self._busy):
            self.answered(request_id)

    def lend(self, size_bytes: int) -> memoryview:
        """Memory for the user's own frames, for as long as anything uses it; not shared where there is no room."""
        self._take_back()
        ring = self._with_room(size_bytes) or self._another(size_bytes)
        if ring is None:
            return memoryview(bytearray(size_bytes))
        slot = ring.take()
        lent = np.frombuffer(ring.memory, np.uint8, size_bytes, slot.offset)
        self._lent += 1
        weakref.finalize(lent, self._returned.append, slot).atexit = False
        return lent.data

    def close(self) -> None:
        """Give the descriptors back; memory that was lent stays."""
        for ring in self._rings:
            ring.close()
        self._rings.clear()

    def _with_room(self, size_bytes: int) -> Ring | None:
        """The smallest ring with a free slot of that size, a new one where none has such slots."""
        fitting = [ring for ring in self._rings if ring.slot_bytes >= size_bytes]
        if not fitting:
            return self._larger(size_bytes)
        return min((ring for ring in fitting if ring.free), key=lambda ring: ring.slot_bytes, default=None)

    def _larger(self, size_bytes: int) -> Ring:
        """A new ring; where there are as many as may be, the one of the smallest slots makes room for it."""
        ring = self._another(size_bytes)
        if ring is None:
            least = min(self._rings, key=lambda ring: ring.slot_bytes)
            ring = Ring(least.number, size_bytes)
            least.close()
            self._rings[self._rings.index(least)] = ring
        return ring

    def _another(self, size_bytes: int) -> Ring | None:
        """One more ring; None where there are as many as may be."""
        if len(self._rings) == MAX_RINGS:
            return None
        ring = Ring(len(self._rings) + 1, size_bytes)
        self._rings.append(ring)
        return ring

    def _lent_slot(self, frame: Frame) -> tuple[Slot, int] | None:
        """The slot that was lent and in which this frame lies, and where in its ring."""
        address = address_of(frame)
        for ring in self._rings:
            offset = address - ring.address
            if 0 <= offset < len(ring.memory):
                return ring.share(offset // ring.slot_bytes), offset
        return None

    def _take_back(self) -> None:
        while self._returned:
            self._returned.popleft().release()
            self._lent -= 1


def address_of(memory: Frame) -> int:
    """Where memory begins."""
    address: int = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
    return address
