"""Plan to reality: load what is missing, swap routes between two requests, let the old ones drain, evict.

Loading happens on the loader thread while requests go on; a swap is one assignment, so no request waits for it.
Memory is freed only after the last request on an old route has ended. The control thread is the only caller.

An app's route may have merged sessions in place of some of its blocks. The blocks stay in memory beside them, because
the next plan may want them at once, for this app or another; so the weights are there twice, both are counted, and
when memory is short merged sessions are the first to go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import structlog

from blockprofiles.record import Row
from blockstore.assembly import LoadedBlock, LoadedHead
from schedulerd.clock import Clock
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.holdings import Form, Holdings
from schedulerd.control.loader import Loaded
from schedulerd.control.mounting import expected_of, mounted
from schedulerd.merging.verdict import Run
from schedulerd.plan import Plan, Route, RouteChange
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.merged import MergedRun, with_merged
from schedulerd.serving.route import LoadedRoute, PinCount

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """A route in memory and what it keeps there."""

    app: LiveApp
    loaded: LoadedRoute
    plain: LoadedRoute
    """The same without merged sessions."""
    forms: frozenset[Form]
    """Of its blocks and heads."""
    sessions: Mapping[Run, Form]
    """Its merged sessions."""

    def all_forms(self) -> frozenset[Form]:
        """Everything that must stay in memory while a request runs on it."""
        return self.forms.union(self.sessions.values())


@dataclass(frozen=True, slots=True)
class Session:
    """A merged session that is to take the place of some blocks."""

    run: Run
    form: Form


@dataclass(frozen=True, slots=True)
class Swaps:
    """Plans that moved an app from one route to another: whether that needed a load."""

    warm: int = 0
    cold: int = 0


class Switcher:
    """What is in memory, and which app runs what."""

    def __init__(
        self,
        load: Callable[[str, Row], LoadedBlock],
        load_head: Callable[[str], LoadedHead],
        clock: Clock,
        beat: Callable[[], None],
    ) -> None:
        """A switcher with nothing loaded.

        Args: load: makes a block of a blob, with the engine and threads of a row; load_head: makes the head of an exit
        of a blob; clock; beat: called now and then while `apply` waits for the loader.
        """
        self._load = load
        self._load_head = load_head
        self._held = Holdings(clock, beat)
        self._running: dict[str, _Running] = {}
        self._draining: list[_Running] = []
        self.swaps = Swaps()

    def apply(
        self,
        plan: Plan,
        changes: Sequence[RouteChange],
        apps: Mapping[str, LiveApp],
        memory_limit_bytes: int,
        catalogue: Catalogue,
    ) -> None:
        """Put a plan into place. `LoadFailed` and `LoadTimedOut` leave every app on the route that it has."""
        wanted = self._wanted(plan, catalogue)
        missing = {form: load for form, load in sorted(wanted.items()) if not self._held.is_ready(form)}
        coming = [form.digest for form in missing if form not in self._held]
        self._make_room(coming, wanted.keys(), memory_limit_bytes, catalogue.size_bytes)
        self._held.fetch(missing)
        self._count(changes, cold=bool(missing))
        for change in changes:
            app = apps.get(change.app_id)
            if change.new is None or app is None:
                self.retire(change.app_id)
            else:
                self._put(self._loaded(app, plan, catalogue))
        self._renew(plan, catalogue)
        self._settle()

    def tidy(self, memory_limit_bytes: int, size_bytes: Callable[[str], int]) -> None:
        """Release routes that have drained, and evict until what is kept fits the limit."""
        self._settle()
        self._make_room((), (), memory_limit_bytes, size_bytes)

    def resident_bytes(self, size_bytes: Callable[[str], int]) -> int:
        """Memory of everything held, in use or kept warm."""
        return self._held.resident_bytes(size_bytes)

    def live_bytes(self, size_bytes: Callable[[str], int]) -> int:
        """Memory of what the routes run."""
        return self._held.live_bytes(size_bytes)

    def arena_bytes(self, need_bytes: Callable[[str], int]) -> int:
        """What the shared arena of activations has grown to at least, once everything held has run.

        It never shrinks, so blobs that have been evicted may have made it larger; nor is it known here whether several
        lanes ever ran large blobs at once.
        """
        return self._held.arena_bytes(need_bytes)

    def resident(self) -> frozenset[str]:
        """Blobs, by digest, that need not be loaded."""
        return self._held.digests()

    def states(self) -> dict[str, int]:
        """How many variants, heads and merged sessions are in each state."""
        return self._held.states()

    def close(self) -> None:
        """Stop the loader; what it is loading is let go."""
        self._held.close()

    # Loading.

    def _wanted(self, plan: Plan, catalogue: Catalogue) -> dict[Form, Callable[[], Loaded]]:
        """What the routes of a plan run, and how each is loaded."""
        wanted: dict[Form, Callable[[], Loaded]] = {}
        for app in plan.apps:
            for digest in app.route.digests:
                row = catalogue.table.row(digest)
                wanted[_form(row)] = partial(self._load, digest, row)
            for digest in app.route.heads:
                wanted[_form(catalogue.table.row(digest))] = partial(self._load_head, digest)
        return wanted

    def _count(self, changes: Sequence[RouteChange], *, cold: bool) -> None:
        """An app's first route is no swap, and nobody could have known of it."""
        if any(change.old is not None and change.new is not None for change in changes):
            known = self.swaps
            self.swaps = replace(known, cold=known.cold + 1) if cold else replace(known, warm=known.warm + 1)

    def absent(self, plan: Plan, catalogue: Catalogue) -> dict[Form, Callable[[], Loaded]]:
        """What a plan would have to load, and how."""
        return {form: load for form, load in self._wanted(plan, catalogue).items() if form not in self._held}

    @property
    def loading(self) -> bool:
        """Whether the loader has work."""
        return self._held.loading

    def load_ms(self) -> Mapping[Form, float]:
        """What loading took, of every blob that was ever loaded."""
        return self._held.load_ms()

    def begin(self, form: Form, load: Callable[[], Loaded]) -> None:
        """Load what is absent without waiting, so that it is warm when a plan wants it: `taken` tells."""
        self._held.begin(form, load)

    def taken(self, form: Form) -> bool:
        """Whether what was begun is loaded; what its load raised is raised once, and it is absent again."""
        return self._held.taken(form)

    def _loaded(self, app: LiveApp, plan: Plan, catalogue: Catalogue) -> _Running:
        planned = plan.app(app.spec.app_id)
        assert planned is not None, "a change to a new route is part of its plan"
        route, row = planned.route, catalogue.table.row
        blocks = [cast(LoadedBlock, self._held[_form(row(digest))]) for digest in route.digests]
        heads = {digest: cast(LoadedHead, self._held[_form(row(digest))]) for digest in route.heads}
        loaded = mounted(planned, plan.number, blocks, heads, catalogue)
        return _Running(app, loaded, loaded, _forms(route, catalogue), {})

    # Swapping.

    def _put(self, new: _Running) -> None:
        app_id = new.app.spec.app_id
        self.retire(app_id)
        self._running[app_id] = new
        new.app.route = new.loaded

    def retire(self, app_id: str) -> None:
        """An app needs its route no more; what runs on it ends first."""
        old = self._running.pop(app_id, None)
        if old is not None:
            self._draining.append(old)

    def _renew(self, plan: Plan, catalogue: Catalogue) -> None:
        """Routes that stay, but of which the profile now says other times, or that a block needs other threads."""
        for app_id, running in list(self._running.items()):
            planned = plan.app(app_id)
            if planned is None:
                continue
            expected = expected_of(planned.route.digests, catalogue)
            if (running.forms, running.plain.expected) != (_forms(planned.route, catalogue), expected):
                self._put(self._loaded(running.app, plan, catalogue))

    def _settle(self) -> None:
        """Bring every variant's state in line with the routes that use it."""
        # A lane that has read the old route but not pinned it yet holds a reference to its blocks: forgetting them here
        # too early costs a reload later, never a crash.
        self._draining = [old for old in self._draining if not old.loaded.pins.drained]
        live = {form for running in self._running.values() for form in running.all_forms()}
        draining = {form for old in self._draining for form in old.all_forms()} - live
        self._held.settle(live, draining)

    def let_go(self, digests: Collection[str]) -> None:
        """These blobs failed as they ran: what is in memory of them goes when no route has it any more."""
        self._held.make_unfit(digests)
        self._settle()

    # Merging.

    def load_session(self, form: Form, load: Callable[[], LoadedBlock], size_bytes: int) -> bool:
        """Whether a merged session is loaded; the first call begins to load it, and no call waits.

        Raises what `load` raised, once; the next call tries again.
        """
        if form not in self._held:
            self._held.begin(form, load, size_bytes)
        return self._held.taken(form)

    def holds(self, form: Form) -> bool:
        """Whether this is in memory, or on the way there."""
        return form in self._held

    def let_go_session(self, form: Form) -> None:
        """A merged session that was to be loaded is not wanted after all; one on a route stays."""
        self._held.let_go_extra(form)

    def sessions(self, app_id: str) -> Mapping[Run, Form]:
        """The merged sessions on the route of an app."""
        running = self._running.get(app_id)
        return {} if running is None else running.sessions

    def merge(self, app_id: str, sessions: Sequence[Session]) -> None:
        """Replace the app's route by one with exactly these merged sessions, which are loaded, or with none."""
        running = self._running[app_id]
        # The plain route may still be pinned from before; each time on the road has its own count.
        loaded = replace(running.plain, pins=PinCount())
        if sessions:
            runs = [MergedRun(s.run.first, s.run.end - 1, cast(LoadedBlock, self._held[s.form])) for s in sessions]
            loaded = with_merged(running.plain, runs)
        self._put(replace(running, loaded=loaded, sessions={s.run: s.form for s in sessions}))
        self._settle()

    # Evicting.

    def _make_room(
        self,
        coming: Collection[str],
        keep: Collection[Form],
        memory_limit_bytes: int,
        size_bytes: Callable[[str], int],
    ) -> None:
        self._give_up_sessions(sum(map(size_bytes, coming)), memory_limit_bytes, size_bytes)
        short_bytes = self._held.make_room(coming, keep, memory_limit_bytes, size_bytes)
        if coming and short_bytes:
            # Routes are never taken away before the new ones run, so old and new are in memory together for a moment.
            log.info("over_memory_limit_while_swapping", bytes=short_bytes)

    def _give_up_sessions(self, coming_bytes: int, limit_bytes: int, size_bytes: Callable[[str], int]) -> None:
        """Take merged sessions off the routes while there is not enough room, the largest first."""
        excess_bytes = self.resident_bytes(size_bytes) + coming_bytes - limit_bytes
        merged = {app_id: running.sessions.values() for app_id, running in self._running.items() if running.sessions}
        for app_id in sorted(merged, key=lambda app_id: -self._held.extra_bytes(merged[app_id])):
            if excess_bytes <= 0:
                return
            excess_bytes -= self._held.extra_bytes(merged[app_id])
            log.info("unmerged", app=app_id, reason="memory is short")
            self.merge(app_id, ())


def _form(row: Row) -> Form:
    return Form(row.digest, row.engine, row.threads)


def _forms(route: Route, catalogue: Catalogue) -> frozenset[Form]:
    return frozenset(_form(catalogue.table.row(digest)) for digest in (*route.digests, *route.heads))
