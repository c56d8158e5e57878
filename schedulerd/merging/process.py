"""A trial under way in its own process: asked how it goes now and then, and ended when it hangs or is in the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blockprofiles.process import SILENCE_S, ProfilerProcess
from blockprofiles.supervise import FROM_OUTSIDE, how
from schedulerd.merging.events import Alive, Event, Impossible, Tried, from_line
from schedulerd.merging.verdict import TrialJob


@dataclass(frozen=True, slots=True)
class Failed:
    """The process ended without verdicts."""

    reason: str
    lasting: bool
    """Whether another try would end alike, as far as one can tell: not where it was ended from outside."""


class Trial:
    """One process; no method waits."""

    def __init__(
        self,
        job: TrialJob,
        now: Callable[[], float],
        command: Sequence[str] | None = None,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Start it; OSError where no process can be started.

        Args: job; now: monotonic seconds; command: of the process, None for ours; silence_s: it is ended when it says
        nothing for so long. The thread that calls this has to live as long as the trial.
        """
        self._process: ProfilerProcess[Event] = ProfilerProcess(
            command or _command(), job.to_json(), from_line, now=now, silence_s=silence_s
        )

    def poll(self) -> Tried | Impossible | Failed | None:
        """What came of it, after which it is to be closed; None while it goes on."""
        for event in self._process.read(0.0):
            if not isinstance(event, Alive):
                return event
        end = self._process.end
        if end is None:
            return None
        if end.silent_s is None and -end.code in FROM_OUTSIDE:
            return Failed("its process was killed from outside: the memory may not suffice for it", lasting=False)
        return Failed(how(end), lasting=True)

    def close(self) -> None:
        """End it, if it has not ended."""
        with self._process:
            pass


def _command() -> tuple[str, ...]:
    return sys.executable, "-m", "schedulerd.merging.worker", str(os.getpid())
