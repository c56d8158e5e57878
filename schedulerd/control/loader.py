"""The loader thread: it turns blobs into what runs, one after the other, while requests go on."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from blockstore.assembly import LoadedBlock, LoadedHead
from schedulerd.clock import Clock

LOAD_TIMEOUT_S: Final = 20.0
"""For all blobs of one plan; a loader that takes longer is given up, and the running routes stay."""
BEAT_S: Final = 0.5
"""How often the control thread shows that it is alive while it waits for the loader."""

Loaded = LoadedBlock | LoadedHead


class Timed(NamedTuple):
    """What was loaded, and how long that took."""

    loaded: Loaded
    load_ms: float


Loading = concurrent.futures.Future[Timed]


class Loader:
    """One thread, which the control thread gives work to."""

    def __init__(self, clock: Clock, beat: Callable[[], None]) -> None:
        """Idle; `beat` is called now and then while `wait` waits."""
        self._clock = clock
        self._beat = beat
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")

    def begin(self, load: Callable[[], Loaded]) -> Loading:
        """Have `load` called when what was begun before is done."""
        return self._thread.submit(self._timed, load)

    def wait(self, loads: Collection[Loading]) -> None:
        """Return when all of them are done, or after `LOAD_TIMEOUT_S`."""
        until_s = self._clock.now_s() + LOAD_TIMEOUT_S
        waiting = set(loads)
        while waiting and self._clock.now_s() < until_s:
            waiting = concurrent.futures.wait(waiting, timeout=BEAT_S).not_done
            if waiting:
                self._beat()

    def close(self) -> None:
        """Stop; what is being loaded is let go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _timed(self, load: Callable[[], Loaded]) -> Timed:
        began_s = self._clock.now_s()
        return Timed(load(), 1e3 * (self._clock.now_s() - began_s))
