"""Plan to reality: load what is missing, swap routes between two requests, let the old ones drain, evict.

Loading happens on the loader thread while requests go on; a swap is one assignment, so no request waits for it.
Memory is freed only after the last request on an old route has ended. The control thread is the only caller.
"""

from __future__ import annotations

import concurrent.futures
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import structlog

from blockstore.assembly import LoadedBlock, LoadedHead
from blockstore.lifecycle import State, moved
from blockstore.residency import Resident, evict
from schedulerd.clock import Clock
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.mounting import mounted
from schedulerd.plan import Plan, Route, RouteChange
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.engines.heap import return_freed_memory
from schedulerd.serving.route import LoadedRoute

log = structlog.get_logger(__name__)

LOAD_TIMEOUT_S = 20.0
"""For all blobs of one plan; a loader that takes longer is given up, and the running routes stay."""
BEAT_S = 0.5
"""How often the control thread shows that it is alive while it waits for the loader."""


class LoadFailed(Exception):
    """Blobs could not be loaded: missing, damaged, or refused by the engine."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"blob {digest[:12]}: {reason}" for digest, reason in reasons.items()))
        self.reasons = dict(reasons)
        """What is wrong with each blob, by digest."""


class LoadTimedOut(Exception):
    """The loader was not done in time; nothing is known to be wrong with any blob."""


@dataclass(slots=True)
class _Held:
    """A variant or head that has left `absent`; `loaded` is None while it is loading."""

    state: State
    loaded: LoadedBlock | LoadedHead | None
    last_used_s: float


class Switcher:
    """What is in memory, and which app runs what."""

    def __init__(
        self,
        load: Callable[[str], LoadedBlock],
        load_head: Callable[[str], LoadedHead],
        clock: Clock,
        beat: Callable[[], None],
    ) -> None:
        """A switcher with nothing loaded.

        Args: load: makes a block of a blob; load_head: makes the head of an exit of one; clock; beat: called now and
        then while `apply` waits for the loader.
        """
        self._load = load
        self._load_head = load_head
        self._clock = clock
        self._beat = beat
        self._loader = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")
        self._held: dict[str, _Held] = {}
        self._running: dict[str, LoadedRoute] = {}
        self._draining: list[LoadedRoute] = []

    def apply(
        self,
        plan: Plan,
        changes: Sequence[RouteChange],
        apps: Mapping[str, LiveApp],
        memory_limit_bytes: int,
        catalogue: Catalogue,
    ) -> None:
        """Put a plan into place. `LoadFailed` and `LoadTimedOut` leave every app on the route that it has."""
        wanted = plan.digests()
        missing = sorted(wanted - self._held.keys())
        self._make_room(missing, wanted, memory_limit_bytes, catalogue.size_bytes)
        self._fetch(missing, heads={digest for app in plan.apps for digest in app.route.heads})
        for change in changes:
            app = apps.get(change.app_id)
            if change.new is None or app is None:
                self.retire(change.app_id)
            else:
                self._put(app, self._loaded(change.new, plan, change.app_id, catalogue))
        self._settle()

    def tidy(self, memory_limit_bytes: int, size_bytes: Callable[[str], int]) -> None:
        """Release routes that have drained, and evict until what is kept fits the limit."""
        self._settle()
        self._make_room((), (), memory_limit_bytes, size_bytes)

    def resident_bytes(self, size_bytes: Callable[[str], int]) -> int:
        """Memory of everything held, in use or kept warm."""
        return sum(size_bytes(digest) for digest in self._held)

    def states(self) -> dict[str, int]:
        """How many variants and heads are in each state."""
        return dict(Counter(held.state.value for held in self._held.values()))

    def close(self) -> None:
        """Stop the loader; what it is loading is let go."""
        self._loader.shutdown(wait=False, cancel_futures=True)

    # Loading.

    def _fetch(self, digests: Sequence[str], heads: Collection[str]) -> None:
        """Load blobs: those of `heads` as heads, all others as blocks."""
        for digest in digests:
            self._held[digest] = _Held(moved(State.ABSENT, State.LOADING), None, self._clock.now_s())
        futures: dict[str, concurrent.futures.Future[LoadedBlock | LoadedHead]] = {
            digest: self._loader.submit(self._load_head if digest in heads else self._load, digest)
            for digest in digests
        }
        self._await(futures.values())
        reasons: dict[str, str] = {}
        late = 0
        for digest, future in futures.items():
            held = self._held[digest]
            if future.done() and (error := future.exception()) is None:
                held.loaded = future.result()
                held.state = moved(held.state, State.WARM)
                continue
            moved(held.state, State.ABSENT)
            del self._held[digest]
            if not future.done():
                future.cancel()
                late += 1
            else:
                # Whatever a library raises on a damaged file, the app keeps its route and the blob is left out.
                reasons[digest] = f"{type(error).__name__}: {error}"
        if reasons:
            raise LoadFailed(reasons)
        if late:
            raise LoadTimedOut(f"{late} of {len(digests)} blobs were not loaded within {LOAD_TIMEOUT_S:g} s")

    def _await(self, futures: Collection[concurrent.futures.Future[LoadedBlock | LoadedHead]]) -> None:
        until_s = self._clock.now_s() + LOAD_TIMEOUT_S
        waiting = set(futures)
        while waiting and self._clock.now_s() < until_s:
            waiting = concurrent.futures.wait(waiting, timeout=BEAT_S).not_done
            if waiting:
                self._beat()

    def _loaded(self, route: Route, plan: Plan, app_id: str, catalogue: Catalogue) -> LoadedRoute:
        planned = plan.app(app_id)
        assert planned is not None, "a change to a new route is part of its plan"
        blocks = [cast(LoadedBlock, self._fetched(digest)) for digest in route.digests]
        heads = {digest: cast(LoadedHead, self._fetched(digest)) for digest in route.heads}
        return mounted(planned, plan.number, blocks, heads, catalogue)

    def _fetched(self, digest: str) -> LoadedBlock | LoadedHead:
        """Which of the two it is, the plan said when it was loaded."""
        loaded = self._held[digest].loaded
        assert loaded is not None, "everything a plan wants has been fetched"
        return loaded

    # Swapping.

    def _put(self, app: LiveApp, loaded: LoadedRoute) -> None:
        self.retire(app.spec.app_id)
        self._running[app.spec.app_id] = loaded
        app.route = loaded

    def retire(self, app_id: str) -> None:
        """An app needs its route no more; what runs on it ends first."""
        old = self._running.pop(app_id, None)
        if old is not None:
            self._draining.append(old)

    def _settle(self) -> None:
        """Bring every variant's state in line with the routes that use it."""
        # A lane that has read the old route but not pinned it yet holds a reference to its blocks: forgetting them here
        # too early costs a reload later, never a crash.
        self._draining = [route for route in self._draining if not route.pins.drained]
        live = {d for route in self._running.values() for d in _blobs(route)}
        draining = {d for route in self._draining for d in _blobs(route)} - live
        now_s = self._clock.now_s()
        for digest, held in self._held.items():
            target = State.LIVE if digest in live else State.DRAINING if digest in draining else State.WARM
            if held.state in (State.LIVE, State.DRAINING) or target is State.LIVE:
                held.last_used_s = now_s
            for step in _path(held.state, target):
                held.state = moved(held.state, step)

    # Evicting.

    def _make_room(
        self,
        coming: Collection[str],
        keep: Collection[str],
        memory_limit_bytes: int,
        size_bytes: Callable[[str], int],
    ) -> None:
        residents = [
            Resident(
                digest=digest,
                size_bytes=size_bytes(digest),
                last_used_s=held.last_used_s,
                pinned=held.state is not State.WARM or digest in keep,
            )
            for digest, held in self._held.items()
        ]
        needed = sum(size_bytes(digest) for digest in coming)
        eviction = evict(residents, needed, memory_limit_bytes)
        for digest in eviction.digests:
            moved(self._held[digest].state, State.ABSENT)
            del self._held[digest]
        if eviction.digests:
            return_freed_memory()
        if coming and eviction.short_bytes:
            # Routes are never taken away before the new ones run, so old and new are in memory together for a moment.
            log.info("over_memory_limit_while_swapping", bytes=eviction.short_bytes)


def _blobs(loaded: LoadedRoute) -> tuple[str, ...]:
    return (*loaded.route.digests, *loaded.route.heads)


def _path(state: State, target: State) -> tuple[State, ...]:
    """The legal steps from one settled state to another: a live variant becomes warm by way of draining."""
    if state is target:
        return ()
    if state is State.LIVE and target is State.WARM:
        return (State.DRAINING, State.WARM)
    return (target,)
