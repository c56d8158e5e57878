"""The main thread's part of a reload: reading the files, and telling the service manager when it begins and ends.

SIGHUP or `schedctl reload` -> here: read -> control loop: compare, apply, plan, answer -> here: ready again
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from schedulerd.config import Config
from schedulerd.control.reloads import Reread
from schedulerd.errors import InternalError, SchedulerdError
from schedulerd.notify import Notifier
from schedulerd.serving.events import Asked

log = structlog.get_logger(__name__)


class Reloading:
    """Begins reloads and ends them; waits for nothing but the files."""

    def __init__(self, read: Callable[[], Config], post: Callable[[Reread], None], notifier: Notifier) -> None:
        """Args: read: the configuration as its files are now; post: to the control loop; notifier."""
        self._read = read
        self._post = post
        self._notifier = notifier

    def begin(self, asked: Asked | None) -> None:
        """Read the files and hand on what they say. Args: asked: who waits for an answer, None for a signal."""
        self._notifier.reloading()
        try:
            outcome: Config | SchedulerdError = self._read()
        except SchedulerdError as error:
            outcome = error
        except Exception as error:
            log.exception("reload_failed")
            outcome = InternalError(f"the configuration could not be read: {type(error).__name__}; see the log")
        self._post(Reread(outcome, asked))

    def end(self, refusal: SchedulerdError | None) -> None:
        """The control loop is through with it."""
        said = "configuration reloaded" if refusal is None else f"configuration kept, the new one is bad: {refusal}"
        self._notifier.ready(said)
