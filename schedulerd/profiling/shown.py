"""How the measuring of a first start shows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from schedulerd.bar import Bar

log = structlog.get_logger(__name__)


@contextmanager
def shown(seconds: float) -> Iterator[Callable[[float, float | None], None]]:
    """Takes the share that is done and the seconds that are left, at most about `seconds` in all.

    A bar to a person at a terminal, log events to everybody else.
    """
    if sys.stderr.isatty():
        with Bar(f"measuring this board, at most about {seconds:g} s", sys.stderr) as bar:
            yield bar
        return
    told: set[int] = set()

    def tell(share: float, _left_s: float | None) -> None:
        quarter = int(4 * share) * 25
        if quarter not in told:
            told.add(quarter)
            log.info("measuring", percent=quarter, seconds=seconds)

    yield tell
