"""What the stages of a build take."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage of a build took, all its processes together."""

    stage: str
    wall_s: float
    cpu_s: float


class Costs:
    """What each stage takes, with the processes it starts."""

    def __init__(self) -> None:
        self._costs: list[StageCost] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done inside as the stage called `name`."""
        wall_s, cpu_s = time.monotonic(), _cpu_s()
        yield
        self._costs.append(StageCost(name, time.monotonic() - wall_s, _cpu_s() - cpu_s))

    def all(self) -> tuple[StageCost, ...]:
        """The stages so far, in order."""
        return tuple(self._costs)


def _cpu_s() -> float:
    """User and system time of this process and of its children that have ended (getrusage(2))."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)
