"""The scene: what happens to the board, in order, and what is undone at the end."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedulerd.demo.cast import HURRIED, Role
from schedulerd.demo.processes import Hog, schedctl

SQUEEZE = 0.4
"""How far the memory limit goes from what the plan takes down to the least that the apps can run in."""
IMPOSSIBLE = 0.1
"""Share of what the plan takes that no routes fit into: the plan that comes nearest takes the least."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of the scene. `act` does it and returns the sentences with which schedulerd answered."""

    name: str
    what: str
    act: Callable[[], tuple[str, ...]]


class Scene:
    """The operator's hand and the hog; owns nothing but the hog."""

    def __init__(self, roles: Sequence[Role], runtime: Path) -> None:
        self._roles = roles
        self._runtime = runtime
        self._hog: Hog | None = None
        self._cores = os.cpu_count() or 1
        self._used_bytes = 0.0
        """Memory of the plan before the hog came: after it has left, the board would go back to that."""

    def phases(self) -> tuple[Phase, ...]:
        """In order of play."""
        hurried = next((role for role in self._roles if role.app == HURRIED), self._roles[0])
        half_ms = hurried.budget_ms / 2
        hogs = "a CPU hog" if self._cores == 1 else f"{self._cores} CPU hogs"
        return (
            Phase("calm", "three apps, nobody else on the board", tuple),
            Phase(
                "budget halved",
                f"schedctl budget {hurried.app} {half_ms:g}ms",
                lambda: self._budget(hurried.app, half_ms),
            ),
            Phase("CPU hog", f"{hogs} start, one on each core", self._start_hog),
            Phase(
                "memory cut",
                f"the hog leaves; schedctl limit memory, {SQUEEZE:.0%} of the way down to the least possible",
                self._squeeze,
            ),
            Phase(
                "calm again",
                f"schedctl limit memory auto; schedctl budget {hurried.app} {hurried.budget_ms:g}ms",
                lambda: self._relax(hurried),
            ),
        )

    def close(self) -> None:
        """End the hog, however the scene ended."""
        if self._hog is not None:
            self._hog.stop()
            self._hog = None

    def _budget(self, app: str, budget_ms: float) -> tuple[str, ...]:
        return _said(schedctl(self._runtime, "budget", app, f"{budget_ms:g}ms"))

    def _start_hog(self) -> tuple[str, ...]:
        self._used_bytes = self._plan_bytes()
        self._hog = Hog(self._cores)
        return ()

    def _squeeze(self) -> tuple[str, ...]:
        """Cut so that neither the plan that runs under the hog nor the one before it fits, and some plan does."""
        self.close()
        limit_bytes = squeezed_bytes(min(self._used_bytes, self._plan_bytes()), self._least_bytes())
        return _said(schedctl(self._runtime, "limit", "memory", _size(limit_bytes)))

    def _plan_bytes(self) -> float:
        return float(schedctl(self._runtime, "plan")["memory_bytes"])

    def _least_bytes(self) -> float:
        """What the smallest routes take together that keep the apps' floors.

        They share activations, and perhaps blobs, so only the daemon can say.
        """
        nearest = schedctl(self._runtime, "whatif", "--memory", _size(IMPOSSIBLE * self._used_bytes))
        return float(nearest["after"]["memory_bytes"])

    def _relax(self, hurried: Role) -> tuple[str, ...]:
        return (
            *_said(schedctl(self._runtime, "limit", "memory", "auto")),
            *self._budget(hurried.app, hurried.budget_ms),
        )


def squeezed_bytes(used_bytes: float, least_bytes: float) -> float:
    """A memory limit under what is used, and over the least that is possible; the two are equal where nothing gives."""
    return used_bytes - SQUEEZE * max(0.0, used_bytes - least_bytes)


def _size(size_bytes: float) -> str:
    """As `schedctl` takes it."""
    return f"{math.ceil(size_bytes / 1e3)}KB"


def _said(answer: dict[str, Any]) -> tuple[str, ...]:
    return (str(answer["sentence"]),)
