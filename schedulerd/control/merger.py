"""Merging in the background: settled routes are tried in a process of their own, and what is faster is put in place.

The control loop calls `tick` at every turn. Nothing here waits: a trial is asked how it goes, a session is loaded on
the loader thread, and a route with merged sessions takes the place of the plain one between two requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import structlog

from blockprofiles.record import Row
from blockstore.assembly import LoadedBlock
from blockstore.block import Model, TensorSpec
from schedulerd.clock import Clock
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.holdings import Form
from schedulerd.control.merging import ENGINE, ROOM, SETTLED_S, allowed, mergeable, rooms_ms, runs_of, steady
from schedulerd.control.switcher import Session, Switcher
from schedulerd.merging.cache import VerdictCache
from schedulerd.merging.events import Impossible, Tried
from schedulerd.merging.process import Failed
from schedulerd.merging.verdict import Run, TrialJob, Verdict
from schedulerd.plan import AppPlan, Plan, Route
from schedulerd.serving.apps import LiveApp

log = structlog.get_logger(__name__)

TRIAL_S: Final = 5.0
"""For timing one route."""
PAUSE_S: Final = 5.0
"""After a trial that was ended because the board got busy."""


class Trial(Protocol):
    """A trial under way: `merging.process.Trial`."""

    def poll(self) -> Tried | Impossible | Failed | None:
        """What came of it; None while it goes on."""
        ...

    def close(self) -> None:
        """End it, if it has not ended."""
        ...


@dataclass(frozen=True, slots=True)
class Merged:
    """Runs of an app's route that are now one session each."""

    app_id: str
    runs: tuple[Run, ...]
    gain: float
    """Share of the route's time that this saves, as it was measured."""


@dataclass(frozen=True, slots=True)
class _Settling:
    """What an app runs, since when, and what room the others leave it."""

    app: LiveApp
    route: Route
    room_ms: float
    since_s: float


@dataclass(frozen=True, slots=True)
class _Wish:
    """One route with the runs that may be merged now, by the keys of their verdicts."""

    planned: AppPlan
    rows: tuple[Row, ...]
    runs: Mapping[str, Run]

    @property
    def threads(self) -> int:
        return self.rows[0].threads

    def form(self, key: str) -> Form:
        return Form(key, ENGINE, self.threads)


class Merger:
    """What is being tried and loaded, and since when each route stands."""

    def __init__(
        self,
        switcher: Switcher,
        cache: VerdictCache,
        start: Callable[[TrialJob], Trial],
        path_of: Callable[[str], Path],
        load: Callable[[Path, int], LoadedBlock],
        clock: Clock,
    ) -> None:
        """A merger that has done nothing yet.

        Args: switcher; cache; start: begins a trial, OSError where that is not possible; path_of: the file of a blob;
        load: makes a session of a merged graph with so many threads, on the loader thread; clock.
        """
        self._switcher = switcher
        self._cache = cache
        self._start = start
        self._path_of = path_of
        self._load = load
        self._clock = clock
        self._settling: dict[str, _Settling] = {}
        self._trial: tuple[Trial, str, Mapping[str, Run]] | None = None
        """The one under way, of which app, and its runs by key."""
        self._not_before_s = 0.0
        self._possible = True
        """Whether trials can be made here at all."""
        self._loading: set[Form] = set()
        self._damaged: set[str] = set()
        """Keys of graphs that could not be loaded: they are made again once."""

    def tick(
        self,
        plan: Plan,
        apps: Mapping[str, LiveApp],
        catalogue: Catalogue,
        *,
        idle: bool,
        memory_limit_bytes: int,
        largest_bytes: float = math.inf,
    ) -> tuple[Merged, ...]:
        """One turn; what was put in place in it.

        Args: plan: in place; apps: live ones by name; catalogue; idle: whether the board has time for a trial;
        memory_limit_bytes: for everything that is resident; largest_bytes: that can be loaded in what is free.
        """
        self._watch_trial(idle)
        wishes = list(self._wishes(plan, apps, catalogue))
        resident_bytes = self._switcher.resident_bytes(catalogue.size_bytes)
        room_bytes = int(min(ROOM * memory_limit_bytes - resident_bytes, largest_bytes))
        done = [merged for wish in wishes if (merged := self._put(wish, room_bytes)) is not None]
        self._let_go({wish.form(key) for wish in wishes for key in wish.runs})
        if idle and self._possible and self._trial is None and self._clock.now_s() >= self._not_before_s:
            self._try_next(wishes, catalogue.models)
        return tuple(done)

    def distrust(self, forms: Collection[Form], reason: str) -> None:
        """These sessions failed as they ran: they are merged no more until the daemon is started again."""
        for form in forms:
            if verdict := self._cache.get(form.digest):
                self._cache.put(form.digest, verdict.refused(reason), lasting=False)

    def close(self) -> None:
        """End the trial under way."""
        if self._trial is not None:
            self._trial[0].close()
            self._trial = None

    # Deciding.

    def _wishes(self, plan: Plan, apps: Mapping[str, LiveApp], catalogue: Catalogue) -> Iterator[_Wish]:
        """Settled routes with the runs that may be merged, the busiest app's first.

        What is merged and may not stay so is put back at once: an app that joins must not wait for it. What may stay
        does, though less might be merged anew; but not where an app shares a stream, as its others would not have it.
        """
        before, self._settling = self._settling, {}
        live = [(apps[p.app_id], p) for p in sorted(plan.apps, key=lambda a: -a.utilisation) if p.app_id in apps]
        rooms = rooms_ms(live, catalogue.table)
        for app, planned in live:
            rows = tuple(catalogue.table.row(digest) for digest in planned.route.digests)
            block_ms = [row.latency_ms for row in rows]
            used = steady(rooms[app])
            held = self._switcher.sessions(planned.app_id)
            if not all(allowed(run, block_ms, used if app.shares_stream else rooms[app]) for run in held):
                log.info("unmerged", app=planned.app_id, reason="other apps share the board")
                self._switcher.merge(planned.app_id, ())
                held = {}
            settling = _Settling(app, planned.route, used, self._clock.now_s())
            known = before.get(planned.app_id)
            if known is not None and (known.app, known.route, known.room_ms) == (app, planned.route, used):
                settling = known
            self._settling[planned.app_id] = settling
            stays = held and not all(allowed(run, block_ms, used) for run in held)
            settled = self._clock.now_s() - settling.since_s >= SETTLED_S
            if settled and not stays and mergeable(planned.route, rows):
                yield self._wish(planned, rows, runs_of(block_ms, used))

    def _wish(self, planned: AppPlan, rows: tuple[Row, ...], runs: Sequence[Run]) -> _Wish:
        digests = planned.route.digests
        keys = {self._cache.key(digests[run.first : run.end], rows[0].threads): run for run in runs}
        return _Wish(planned, rows, keys)

    # Putting in place.

    def _put(self, wish: _Wish, room_bytes: int) -> Merged | None:
        """Put what is known to be faster in place, once it is loaded."""
        faster = {key: verdict for key in wish.runs if (verdict := self._cache.get(key)) and verdict.faster}
        app_id = wish.planned.app_id
        if not faster or {wish.runs[key] for key in faster} == set(self._switcher.sessions(app_id)):
            return None
        needed_bytes = sum(v.memory_bytes for key, v in faster.items() if not self._switcher.holds(wish.form(key)))
        if needed_bytes > room_bytes:
            return None
        # All are asked, so that all begin to load.
        loaded = [self._loaded(wish, key, verdict) for key, verdict in faster.items()]
        if not all(loaded):
            return None
        self._loading -= {wish.form(key) for key in faster}
        self._switcher.merge(app_id, [Session(wish.runs[key], wish.form(key)) for key in faster])
        saved_ms = sum(verdict.chain_ms - verdict.merged_ms for verdict in faster.values())
        gain = saved_ms / sum(row.latency_ms for row in wish.rows)
        runs = tuple(wish.runs[key] for key in faster)
        log.info("merged", app=app_id, blocks=", ".join(map(str, runs)), gain_percent=round(100 * gain, 1))
        return Merged(app_id, runs, gain)

    def _loaded(self, wish: _Wish, key: str, verdict: Verdict) -> bool:
        """Whether the session is there; begins to load it where it is not."""
        form = wish.form(key)
        self._loading.add(form)
        try:
            return self._switcher.load_session(
                form, partial(self._session, key, verdict, wish.threads), verdict.memory_bytes
            )
        except Exception as error:  # a file that is gone or damaged, or an engine that refuses it
            self._loading.discard(form)
            log.warning("merge_not_loaded", app=wish.planned.app_id, blocks=str(wish.runs[key]), reason=str(error))
            self._cache.forget(key)
            if key in self._damaged:
                self._cache.put(key, verdict.refused(str(error)), lasting=False)
            self._damaged.add(key)
            return False

    def _session(self, key: str, verdict: Verdict, threads: int) -> LoadedBlock:
        return self._load(self._cache.checked(key, verdict), threads)

    def _let_go(self, wanted: Collection[Form]) -> None:
        """What is being loaded for a route that has changed meanwhile."""
        for form in self._loading - set(wanted):
            self._loading.discard(form)
            self._switcher.let_go_session(form)

    # Trying.

    def _try_next(self, wishes: Sequence[_Wish], models: Mapping[str, Model]) -> None:
        """Begin a trial of the first route that has runs without a verdict."""
        for wish in wishes:
            open_ = {key: run for key, run in wish.runs.items() if self._cache.get(key) is None}
            if not open_:
                continue
            job = self._job(wish, open_, models[wish.planned.route.model].input)
            try:
                self._trial = (self._start(job), wish.planned.app_id, open_)
            except OSError as error:
                self._give_up(str(error))
            return

    def _job(self, wish: _Wish, runs: Mapping[str, Run], frame: TensorSpec) -> TrialJob:
        return TrialJob(
            threads=wish.threads,
            input=frame,
            blobs=tuple(map(self._path_of, wish.planned.route.digests)),
            runs=tuple(runs.values()),
            files=tuple(map(self._cache.file, runs)),
            budget_s=TRIAL_S,
        )

    def _watch_trial(self, idle: bool) -> None:
        if self._trial is None:
            return
        trial, app_id, runs = self._trial
        outcome = trial.poll()
        if outcome is None and idle:
            return
        self.close()
        if outcome is None:
            # What it has measured beside a busy lane would say nothing.
            self._not_before_s = self._clock.now_s() + PAUSE_S
        elif isinstance(outcome, Tried):
            for (key, run), verdict in zip(runs.items(), outcome.verdicts, strict=True):
                self._take(app_id, run, key, verdict)
        elif isinstance(outcome, Failed):
            log.warning("merge_failed", app=app_id, blocks=", ".join(map(str, runs.values())), reason=outcome.reason)
            for key in runs:
                self._cache.put(key, Verdict(fault=outcome.reason), lasting=outcome.lasting)
        else:
            self._give_up(outcome.reason)

    def _take(self, app_id: str, run: Run, key: str, verdict: Verdict) -> None:
        self._cache.put(key, verdict)
        said = {"fault": verdict.fault} if verdict.fault else {"gain_percent": round(100 * verdict.gain, 1)}
        log.info("merge_tried", app=app_id, blocks=str(run), faster=verdict.faster, **said)

    def _give_up(self, reason: str) -> None:
        """No trial is made any more; what was tried earlier is still used."""
        self._possible = False
        log.warning("merging_off", reason=reason, remedy="or set `merge = false` in [engine]")
