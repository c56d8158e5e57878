"""A profile in a thread of its own, for a control loop that waits for nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from blockprofiles.effort import STANDARD
from blockprofiles.table import Table
from schedulerd.profiling.profile import Manner, Profile, Subject

log = structlog.get_logger(__name__)


class BackgroundProfile:
    """A `schedulerd.control.improver.Run`. The thread only waits and saves; what measures is another process."""

    def __init__(self, profile: Profile) -> None:
        """Begin `profile`, which nobody has run yet."""
        self._profile = profile
        self._thread = threading.Thread(target=self._run, name="profile", daemon=True)
        self._thread.start()

    @property
    def table(self) -> Table:
        """See `Run`."""
        return self._profile.table

    @property
    def ended(self) -> bool:
        """See `Run`."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """See `Run`."""
        self._profile.stop()

    def _run(self) -> None:
        try:
            self._profile.run()
        except Exception:
            log.exception("profile_failed")


def going_on(subject: Subject, silence_s: float) -> Callable[[Table], BackgroundProfile]:
    """Begins to measure what a table of `subject` lacks, behind everything else on the board; `silence_s`: `Manner`."""
    manner = Manner(STANDARD, silence_s=silence_s, background=True)
    return lambda table: BackgroundProfile(Profile(subject, manner, known=table, device=table.device))
