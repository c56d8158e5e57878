"""The scene: what happens to the board, in order, and what is undone at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedulerd.demo.cast import HURRIED, Role
from schedulerd.demo.processes import Hog, schedctl

SQUEEZE = 0.4
"""How far the memory limit goes from what was used before the hog down to the least that the models can run in."""


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
        self._used_bytes = 0
        """Memory of the plan before the hog came."""

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
        self._used_bytes = schedctl(self._runtime, "plan")["memory_bytes"]
        self._hog = Hog(self._cores)
        return ()

    def _squeeze(self) -> tuple[str, ...]:
        self.close()
        to_give_bytes = max(0, self._used_bytes - sum(role.least_memory_bytes for role in self._roles))
        limit_bytes = self._used_bytes - SQUEEZE * to_give_bytes
        return _said(schedctl(self._runtime, "limit", "memory", f"{limit_bytes / 1e3:.0f}KB"))

    def _relax(self, hurried: Role) -> tuple[str, ...]:
        return (
            *_said(schedctl(self._runtime, "limit", "memory", "auto")),
            *self._budget(hurried.app, hurried.budget_ms),
        )


def _said(answer: dict[str, Any]) -> tuple[str, ...]:
    return (str(answer["sentence"]),)
