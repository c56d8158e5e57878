"""What is in memory: variants, heads and merged sessions, each in its state. The loader thread makes them.

The control thread is the only caller; what the loader thread is given touches nothing of this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import structlog

from blockstore.lifecycle import State, moved
from blockstore.residency import Resident, evict, value_of
from schedulerd.clock import Clock
from schedulerd.control.loader import LOAD_TIMEOUT_S, Loaded, Loader, Loading, Timed
from schedulerd.serving.engines.heap import return_freed_memory

log = structlog.get_logger(__name__)


class LoadFailed(Exception):
    """Blobs could not be loaded: missing, damaged, or refused by the engine."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"blob {digest[:12]}: {reason}" for digest, reason in reasons.items()))
        self.reasons = dict(reasons)
        """What is wrong with each blob, by digest."""


class LoadTimedOut(Exception):
    """The loader was not done in time; nothing is known to be wrong with any blob."""


@dataclass(frozen=True, slots=True, order=True)
class Form:
    """A blob as it is run: while a route moves from one thread count to another, both forms are in memory."""

    digest: str
    """Of a merged session, the key of its verdict."""
    engine: str
    threads: int


@dataclass(slots=True)
class _Held:
    """What has left `absent`; `loaded` is None while it is loading."""

    state: State
    last_used_s: float
    loaded: Loaded | None = None
    extra_bytes: int | None = None
    """Of a merged session; None for a blob, whose size the profile knows."""
    loading: Loading | None = None
    load_ms: float = 0.0
    uses: int = 0
    """Times that it came onto a route."""
    clock: float = 0.0
    """Of eviction, when it was used last."""
    unfit: bool = False
    """It failed as it ran: let go as soon as nobody runs it, so that it is loaded anew if it is wanted again."""


class Holdings:
    """Everything that is held, in use or kept warm."""

    def __init__(self, clock: Clock, beat: Callable[[], None]) -> None:
        """Nothing yet; `beat` is called now and then while `fetch` waits for the loader."""
        self._clock = clock
        self._loader = Loader(clock, beat)
        self._held: dict[Form, _Held] = {}
        self._eviction_clock = 0.0
        """The largest value that was evicted (`residency`)."""
        self._load_ms: dict[Form, float] = {}
        """What loading took the last time, of what has gone as well."""

    def __contains__(self, form: Form) -> bool:
        return form in self._held

    def __getitem__(self, form: Form) -> Loaded:
        loaded = self._held[form].loaded
        assert loaded is not None, "what is asked for has been fetched"
        return loaded

    def resident_bytes(self, size_bytes: Callable[[str], int]) -> int:
        """Memory of everything held, in use or kept warm."""
        return sum(_size_of(form, held, size_bytes) for form, held in self._held.items())

    def live_bytes(self, size_bytes: Callable[[str], int]) -> int:
        """The same of what some route runs."""
        return sum(_size_of(form, held, size_bytes) for form, held in self._held.items() if held.state is State.LIVE)

    def arena_bytes(self, need_bytes: Callable[[str], int]) -> int:
        """The most that one blob of those which have been loaded needs for its activations, by digest."""
        loaded = (form for form, held in self._held.items() if held.loaded is not None and held.extra_bytes is None)
        return max((need_bytes(form.digest) for form in loaded), default=0)

    def digests(self) -> frozenset[str]:
        """Every blob that is loaded, whoever runs it; merged sessions are none."""
        return frozenset(
            form.digest for form, held in self._held.items() if held.loaded is not None and held.extra_bytes is None
        )

    def is_ready(self, form: Form) -> bool:
        """Whether it is in memory and need not be waited for."""
        return form in self._held and self._held[form].loading is None

    @property
    def loading(self) -> bool:
        """Whether anything is being loaded."""
        return any(held.loading is not None for held in self._held.values())

    def load_ms(self) -> Mapping[Form, float]:
        """What loading took, of everything that was ever loaded."""
        return self._load_ms

    def states(self) -> dict[str, int]:
        """How many are in each state."""
        return dict(Counter(held.state.value for held in self._held.values()))

    def close(self) -> None:
        """Stop the loader; what it is loading is let go."""
        self._loader.close()

    # Loading.

    def fetch(self, loads: Mapping[Form, Callable[[], Loaded]]) -> None:
        """Load what is absent and wait for it. `LoadFailed` and `LoadTimedOut` leave what failed absent."""
        for form, load in loads.items():
            if form not in self._held:
                self.begin(form, load)
        futures = {form: future for form in loads if (future := self._held[form].loading) is not None}
        self._loader.wait(futures.values())
        reasons: dict[str, str] = {}
        late = 0
        for form, future in futures.items():
            if not future.done():
                self._forget(form)
                late += 1
            elif (error := future.exception()) is not None:
                # Whatever a library raises on a damaged file, the app keeps its route and the blob is left out.
                self._forget(form)
                reasons[form.digest] = f"{type(error).__name__}: {error}"
            else:
                self._take(form, future.result())
        if reasons:
            raise LoadFailed(reasons)
        if late:
            raise LoadTimedOut(f"{late} of {len(loads)} blobs were not loaded within {LOAD_TIMEOUT_S:g} s")

    def begin(self, form: Form, load: Callable[[], Loaded], extra_bytes: int | None = None) -> None:
        """Load what is absent, without waiting: `taken` tells when it is there. `extra_bytes`: of a merged session."""
        state = moved(State.ABSENT, State.LOADING)
        loading = self._loader.begin(load)
        self._held[form] = _Held(state, self._clock.now_s(), extra_bytes=extra_bytes, loading=loading)

    def taken(self, form: Form) -> bool:
        """Whether what was begun is loaded; what its load raised is raised once, and it is absent again."""
        held = self._held[form]
        if held.loading is None:
            return True
        if not held.loading.done():
            return False
        if (error := held.loading.exception()) is not None:
            self._forget(form)
            raise error
        self._take(form, held.loading.result())
        return True

    def _take(self, form: Form, timed: Timed) -> None:
        held = self._held[form]
        (held.loaded, held.load_ms), held.loading = timed, None
        held.clock = self._eviction_clock
        held.state = moved(held.state, State.WARM)
        if held.extra_bytes is None:
            self._load_ms[form] = timed.load_ms

    # States.

    def settle(self, live: Collection[Form], draining: Collection[Form]) -> None:
        """Bring every state in line with the routes that use it.

        Merged sessions that none uses any more go at once, and what is unfit.
        """
        now_s = self._clock.now_s()
        unused: list[Form] = []
        for form, held in self._held.items():
            if held.state is State.LOADING:
                continue
            target = State.LIVE if form in live else State.DRAINING if form in draining else State.WARM
            was_used = held.state in (State.LIVE, State.DRAINING)
            if was_used or target is State.LIVE:
                held.last_used_s, held.clock = now_s, self._eviction_clock
            held.uses += held.state is State.WARM and target is State.LIVE
            for step in _path(held.state, target):
                held.state = moved(held.state, step)
            if target is State.WARM and (held.unfit or (was_used and held.extra_bytes is not None)):
                unused.append(form)
        self._let_go(unused)

    def make_unfit(self, digests: Collection[str]) -> None:
        """Whatever is held of these blobs is not to be run again once nobody runs it."""
        for form, held in self._held.items():
            held.unfit |= form.digest in digests

    def let_go_extra(self, form: Form) -> None:
        """A merged session that was loaded, or is being loaded, is not wanted after all."""
        if form in self._held and self._held[form].state in (State.LOADING, State.WARM):
            self._let_go((form,))

    def extra_bytes(self, forms: Iterable[Form]) -> int:
        """Memory of those of `forms` that are merged sessions."""
        return sum(self._held[form].extra_bytes or 0 for form in forms)

    def make_room(
        self,
        coming: Collection[str],
        keep: Collection[Form],
        memory_limit_bytes: int,
        size_bytes: Callable[[str], int],
    ) -> int:
        """Evict what is warm until the rest and `coming`, digests, fit the limit; by how many bytes they do not."""
        residents = [
            Resident(
                digest=_name(form),
                size_bytes=0 if _is_leaving(held) else _size_of(form, held, size_bytes),
                value=_value(form, held, size_bytes),
                last_used_s=held.last_used_s,
                pinned=held.state is not State.WARM or form in keep,
            )
            for form, held in self._held.items()
        ]
        eviction = evict(residents, sum(map(size_bytes, coming)), memory_limit_bytes)
        if eviction.highest is not None:
            self._eviction_clock = max(self._eviction_clock, eviction.highest)
        chosen = set(eviction.digests)
        self._let_go([form for form in self._held if _name(form) in chosen])
        return eviction.short_bytes

    def _let_go(self, forms: Collection[Form]) -> None:
        for form in forms:
            self._forget(form)
        if forms:
            return_freed_memory()

    def _forget(self, form: Form) -> None:
        held = self._held.pop(form)
        moved(held.state, State.ABSENT)
        if held.loading is not None:
            held.loading.cancel()


def _name(form: Form) -> str:
    return f"{form.digest}/{form.engine}/{form.threads}"


def _is_leaving(held: _Held) -> bool:
    """A merged session that goes when the last request on it ends."""
    return held.extra_bytes is not None and held.state is State.DRAINING


def _value(form: Form, held: _Held, size_bytes: Callable[[str], int]) -> float:
    """Of keeping it; what is merged goes before anything else."""
    if held.extra_bytes is not None:
        return -math.inf
    return value_of(held.clock, held.uses, held.load_ms, size_bytes(form.digest))


def _size_of(form: Form, held: _Held, size_bytes: Callable[[str], int]) -> int:
    return size_bytes(form.digest) if held.extra_bytes is None else held.extra_bytes


def _path(state: State, target: State) -> tuple[State, ...]:
    """The legal steps from one settled state to another: a live variant becomes warm by way of draining."""
    if state is target:
        return ()
    if state is State.LIVE and target is State.WARM:
        return (State.DRAINING, State.WARM)
    return (target,)
