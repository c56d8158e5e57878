"""What the control loop does for itself while the apps leave it time: measuring on, merging blocks, looking ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from blockprofiles.table import Table
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.factors import Factors
from schedulerd.control.holdings import Form
from schedulerd.control.improver import Improver
from schedulerd.control.merger import Merger
from schedulerd.control.planner import Planner
from schedulerd.control.prefetcher import Prefetcher
from schedulerd.control.snapshot import Snapshot
from schedulerd.control.staging import largest_loadable_bytes
from schedulerd.optimizer.problem import Limits
from schedulerd.plan import Plan
from schedulerd.serving.apps import LiveApp

QUIET_S: Final = 1.0
"""Without a request for so long nobody wants the board at this moment."""
SPARE: Final = 0.5
"""Share of the lanes up to which their cores have time for a trial: it yields to every frame."""


PROCESS_BYTES: Final = 160 * 10**6
"""What a process that measures or tries takes: its libraries, and the blocks of a route in two forms."""


def has_room(snapshot: Snapshot) -> bool:
    """Whether the board has the memory for such a process, as far as anybody knows."""
    free_bytes = snapshot.memory_available_bytes
    return free_bytes is None or free_bytes >= PROCESS_BYTES


def _largest_bytes(snapshot: Snapshot) -> float:
    """Of what may be loaded though nobody waits for it."""
    free_bytes = snapshot.memory_available_bytes
    return math.inf if free_bytes is None else largest_loadable_bytes(free_bytes)


class Background:
    """Called at every turn of the control loop; waits for nothing."""

    def __init__(self, improver: Improver | None, merger: Merger | None, prefetcher: Prefetcher | None = None) -> None:
        """Args: improver: of the profile, None where that is not wanted; merger, prefetcher: likewise."""
        self._improver = improver
        self._merger = merger
        self._prefetcher = prefetcher
        self._measuring = False

    def measured(self, apps: Sequence[LiveApp], snapshot: Snapshot) -> Table | None:
        """A profile that knows more than the one before, when there is one."""
        if self._improver is None:
            return None
        now_s = snapshot.at_s
        idle = has_room(snapshot) and not any(app.queued or app.meter.since(now_s - QUIET_S) for app in apps)
        newer = self._improver.tick(idle)
        self._measuring = self._improver.running
        return newer

    def merge(
        self,
        plan: Plan,
        apps: Mapping[str, LiveApp],
        catalogue: Catalogue,
        memory_limit_bytes: int,
        snapshot: Snapshot,
        publish: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        """Try what may be merged, put in place what is faster, and tell it."""
        if self._merger is None:
            return
        # Two that measure at once would see each other.
        idle = plan.utilisation <= SPARE and not self._measuring and has_room(snapshot)
        for merged in self._merger.tick(
            plan,
            apps,
            catalogue,
            idle=idle,
            memory_limit_bytes=memory_limit_bytes,
            largest_bytes=_largest_bytes(snapshot),
        ):
            runs, gain_percent = [str(run) for run in merged.runs], round(100 * merged.gain, 1)
            publish("merged", {"app": merged.app_id, "blocks": runs, "gain_percent": gain_percent})

    def look_ahead(
        self,
        planner: Planner,
        limits: Limits,
        factors: Callable[[], Factors],
        snapshot: Snapshot,
        *,
        pressed: Collection[str],
    ) -> None:
        """Load what the next plans are likely to want.

        Args: planner: whose next plans; limits: now; factors: that times are planned with now; snapshot: of the board;
        pressed: by the board.
        """
        if self._prefetcher is not None:
            self._prefetcher.tick(
                planner.plan,
                planner.decisions,
                lambda: planner.problem(limits, factors()),
                planner.catalogue,
                planner.room_bytes(limits),
                largest_bytes=_largest_bytes(snapshot),
                calm=not pressed and not self._measuring,
            )

    def distrust(self, forms: Collection[Form], reason: str) -> None:
        """These merged sessions failed as they ran."""
        if self._merger is not None:
            self._merger.distrust(forms, reason)

    def close(self) -> None:
        """End what is under way."""
        if self._improver is not None:
            self._improver.close()
        if self._merger is not None:
            self._merger.close()
