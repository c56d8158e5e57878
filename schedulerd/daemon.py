"""Open this first: the daemon's parts, how they are joined, and the order in which they start and stop.

request path:  socket -> admission -> queue -> executor -> blocks -> reply      (lanes)
control loop:  monitor -> snapshot -> optimizer -> plan -> switcher             (control and loader threads)
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import structlog

from blockprofiles.device import usable_cores
from blockprofiles.effort import STANDARD
from blockprofiles.events import Progress
from blockprofiles.table import Table
from blockstore.store import Store
from schedulerd import __version__, logs
from schedulerd.clock import Clock, SystemClock
from schedulerd.config import Config, service_manager
from schedulerd.control.announcer import Outlets
from schedulerd.control.aside_thread import AsideThread
from schedulerd.control.background import Background
from schedulerd.control.board_watch import BoardWatch
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.improver import Improver
from schedulerd.control.keeper import Keeper
from schedulerd.control.learned_heat import Memory
from schedulerd.control.loop import ControlLoop, LoopSettings
from schedulerd.control.merger import Merger
from schedulerd.control.monitor import Monitor
from schedulerd.control.overrides import OverridesFile
from schedulerd.control.planner import Record
from schedulerd.control.prefetcher import Prefetcher
from schedulerd.control.recorder import Recorder
from schedulerd.control.reloads import Configured, LoopEvent, answerable, planner_settings
from schedulerd.control.switcher import Switcher
from schedulerd.control.thread import ControlThread
from schedulerd.errors import AlreadyServing, ConfigError, SchedulerdError
from schedulerd.merging.cache import VerdictCache
from schedulerd.merging.process import Trial
from schedulerd.notify import Notifier, watchdog_interval_s
from schedulerd.optimizer.problem import MAX_APPS
from schedulerd.optimizer.solvers import make_solver
from schedulerd.plan import EMPTY_PLAN
from schedulerd.profiling.background import going_on
from schedulerd.profiling.profile import Subject, first_start, load_or_measure
from schedulerd.profiling.shown import shown
from schedulerd.profiling.sizing import Sized, sized, threads_measured
from schedulerd.profiling.work import work_left
from schedulerd.reloading import Reloading
from schedulerd.serving.apps import Registry
from schedulerd.serving.defaults import Defaults
from schedulerd.serving.engines.alternates import engine_of
from schedulerd.serving.engines.base import Engine
from schedulerd.serving.executor import Executor
from schedulerd.serving.front import Front
from schedulerd.serving.gateway import Gateway
from schedulerd.serving.lane import Lane
from schedulerd.serving.prefix import Prefixes
from schedulerd.serving.queue import DeadlineQueue
from schedulerd.watchdog import Watchdog
from schedulerd.wire.endpoints import EndpointError, Endpoints

if TYPE_CHECKING:
    from schedulerd.metrics.endpoint import MetricsEndpoint
    from schedulerd.remote import RemoteAccess

log = structlog.get_logger(__name__)

SWITCH_INTERVAL_S = 0.000_02
"""After how long a thread that waits for the interpreter asks the holder for it. A lane gives it up in every block and
wants it back at every boundary: with Python's 5 ms a re-plan would delay a frame by more than many budgets, and with
0.2 ms the slowest percent of the requests took up to 0.2 ms longer than with this, at ten route changes a second."""
DRAIN_S = 5.0
"""How long a stop waits for requests in flight."""
BEAT_S = 0.5
"""How often the main thread looks after the others."""
START_S = 90.0
"""For how long a start that is being measured asks the service manager to be patient: several of the longest silences
that a measuring is allowed by default."""


class Daemon:
    """All parts, alive between `start` and `stop`."""

    def __init__(self, config: Config, read_again: Callable[[], Config], clock: Clock | None = None) -> None:
        """Args: config; read_again: the configuration as its files are now, ConfigError for a bad one; clock."""
        self._config = config
        self._read_again = read_again
        self._clock = clock or SystemClock()
        try:
            self._endpoints = Endpoints.within(config.paths.runtime)
        except EndpointError as error:
            raise ConfigError(str(error)) from error
        # Its put may be called from a signal handler whatever the main thread is doing; an Event's set may not.
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        """For the main thread."""
        self._ending = False
        manager = service_manager()
        self._notifier = Notifier(manager.notify_socket)
        self._watchdog_s = manager.watchdog_s
        self._journal_stream = manager.journal_stream
        self._metrics: MetricsEndpoint | None = None
        self._remote: RemoteAccess | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises `AlreadyServing`, `ConfigError` or a store error if it cannot start."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_end)
        signal.signal(signal.SIGHUP, self._on_hangup)
        runtime = self._config.paths.runtime
        # The store comes first: without one nothing is left behind in the runtime directory.
        with Store.open(self._config.paths.store) as store, Lock(runtime / "schedulerd.lock"), self._listening():
            try:
                self.start(store)
            except _EndedEarly:
                log.info("stopped", during="measuring")
                return
            self._notifier.ready(f"serving {len(self._models)} models")
            log.info("ready", runtime=str(runtime), models=sorted(self._models), pid=os.getpid())
            try:
                self._look_after()
            finally:
                self._notifier.stopping("answering what is in flight")
                self.stop()

    def start(self, store: Store) -> None:
        """Build the parts and let them run."""
        config, clock = self._config, self._clock
        models = self._models = store.whole_models(
            lambda name, error: log.error("model_unusable", model=name, reason=str(error))
        )
        size = self._sized(store)
        engines, table, layout = size.engines, size.table, size.layout
        engine, subject = engines[0], self._subject(engines, store)
        solver = make_solver(
            config.solver.name, config.solver.time_limit_s, lambda reason: log.warning("solver_missing", reason=reason)
        )
        self._registry = Registry(MAX_APPS)
        self._queue = DeadlineQueue(config.limits.queue_length, max(1, config.limits.queue_length // 4), clock)
        events: queue.SimpleQueue[LoopEvent] = queue.SimpleQueue()
        self._reloading = Reloading(self._read_all_again, events.put, self._notifier)
        prefixes = Prefixes()
        control_uids = config.access.control_uids
        self._front = Front(
            models, self._registry, self._queue, events.put, control_uids, clock, prefixes, self._defaults(config)
        )
        self._gateway = Gateway(
            self._endpoints,
            self._front.handlers(),
            clock,
            may_spin=layout.lanes == 1 and usable_cores() > 1,
        )
        self._front.attach(self._gateway)
        if self._remote is not None:
            self._gateway.attach(self._remote.port(config.paths.runtime))
        executor = Executor(engine, clock, events.put, prefixes)
        self._lanes = [
            Lane(n, self._gateway, self._queue, executor, clock, preempt=config.engine.preempt)
            for n in range(layout.lanes)
        ]
        self._control = ControlThread(events, config.control.tick_s, clock)
        self._switcher = Switcher(
            lambda digest, row: engine_of(engines, row.engine, row.threads).load(store.path(digest)),
            lambda digest: engine.load_head(store.path(digest)),
            clock,
            self._control.beat,
        )
        self._aside = AsideThread()
        # Not the one for questions: an edit is answered when it is kept, and must not wait for somebody's question.
        self._writer = AsideThread("writer")
        self._keeper = Keeper(OverridesFile(config.paths.state) if config.control.remember else None, self._writer)
        self._background = Background(
            self._improver(table, subject),
            self._merger(table.device.fingerprint, engines, store),
            Prefetcher(self._switcher, solver, self._aside, clock) if config.control.prefetch else None,
        )
        self._monitor = Monitor.of_this_machine(clock, config.board)
        self._loop = ControlLoop(
            Catalogue(models, table, engine.name, also=frozenset(config.engine.also)),
            self._registry,
            self._switcher,
            self._monitor,
            solver,
            LoopSettings(planner_settings(config, layout.lanes)),
            Outlets(self._gateway.answer, self._gateway.reply, self._gateway.publish, self._gateway.wake),
            clock,
            facts={
                "version": __version__,
                "pid": os.getpid(),
                "started_s": clock.now_s(),
                "engine": engine.name,
                "lanes": layout.lanes,
                "threads_per_lane": layout.threads,
                "lanes_reason": size.why,
            },
            configured=Configured(
                config,
                lambda asked: self._jobs.put(partial(self._reloading.begin, asked)),
                self._reconfigure,
                lambda error: self._jobs.put(partial(self._reloading.end, error)),
            ),
            background=self._background,
            record=self._recorder(config),
            aside=self._aside,
            dropped=lambda: self._gateway.counters()._asdict(),
            board=BoardWatch(config.limits, Memory(config.paths.state), self._aside.put),
            keeper=self._keeper,
            defaults=lambda: self._front.defaults,
        )
        self._control.attach(self._loop)
        # What lives as long as the process need not be looked at by every collection that a request sets off.
        gc.collect()
        gc.freeze()
        self._control.start()
        self._aside.start()
        self._writer.start()
        for lane in self._lanes:
            lane.start()
        if self._metrics is not None:
            self._metrics.serve(events.put, self._front.refused, self._alive_at_s)
        if self._remote is not None:
            self._remote.serve(self._front.on_control)

    def stop(self) -> None:
        """Refuse what comes, answer what is in flight, then end the threads and close the sockets."""
        self._front.stopping.set()
        self._wait_until(lambda: self._queue.open == 0, DRAIN_S)
        if self._queue.open:
            log.warning("stopped_with_requests_open", open=self._queue.open, waited_s=DRAIN_S)
        self._control.stop()
        self._control.join(timeout=DRAIN_S)
        self._aside.close(DRAIN_S)
        self._writer.close(DRAIN_S)
        self._keeper.close()
        self._background.close()
        self._monitor.close()
        self._front.refuse([*self._loop.unanswered(), *answerable(self._control.left_over())])
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join(timeout=DRAIN_S)
        self._switcher.close()
        if self._remote is not None:
            self._remote.close()
        self._gateway.close(DRAIN_S)
        log.info("stopped")

    def _sized(self, store: Store) -> Sized:
        """Engines, their profile, measured as far as it is lacking, and how many lanes there are to be."""
        settings, profile = self._config.engine, self._config.profile
        turns = len(threads_measured(settings, usable_cores()))

        def profiled(engines: Sequence[Engine]) -> Table:
            with shown(profile.seconds) as show:

                def watch(progress: Progress) -> None:
                    if self._ending:
                        raise _EndedEarly
                    show(progress.share, progress.left_s)
                    self._notifier.starting(f"measuring this board, {progress.share:.0%} done", START_S)

                manner = first_start(profile.seconds, profile.silence_s, turns)
                return load_or_measure(self._subject(engines, store), manner, watch=watch)

        size = sized(settings, usable_cores(), tuple(self._models.values()), profiled)
        if size.why is not None:
            log.info("lanes_chosen", lanes=size.layout.lanes, threads_per_lane=size.layout.threads, reason=size.why)
        return size

    def _subject(self, engines: Sequence[Engine], store: Store) -> Subject:
        directory = self._config.paths.state / "profiles"
        models = tuple(self._models.values())
        return Subject(models, engines, store.path, directory, self._config.engine.device)

    def _improver(self, table: Table, subject: Subject) -> Improver | None:
        """Measures what `table` lacks while the board is idle; None where the configuration does not want that."""
        settings = self._config.profile
        if not settings.background:
            return None
        left = partial(work_left, models=subject.models, engines=subject.engines, effort=STANDARD)
        return Improver(table, left, going_on(subject, settings.silence_s), self._clock)

    def _merger(self, fingerprint: str, engines: Sequence[Engine], store: Store) -> Merger | None:
        """Merges blocks of settled routes; None for another engine, or where the configuration does not want that."""
        settings, clock = self._config.engine, self._clock
        if not settings.merge or settings.name != "onnxruntime":
            return None
        return Merger(
            self._switcher,
            VerdictCache(self._config.paths.state / "merged", fingerprint),
            lambda job: Trial(job, clock.now_s),
            store.path,
            lambda path, threads: engine_of(engines, settings.name, threads).load(path),
            clock,
        )

    def _look_after(self) -> None:
        """Wait for the end; feed the watchdog while lanes, gateway and control loop come round."""
        beat_s = min(BEAT_S, watchdog_interval_s(self._watchdog_s) or BEAT_S)
        watchdog = Watchdog(self._notifier, self._watchdog_s, self._alive_at_s, self._clock)
        told = EMPTY_PLAN
        while self._is_wanted(beat_s):
            plan = self._loop.plan
            if plan is not told:
                self._notifier.status(f"{len(self._models)} models, {len(plan.apps)} apps, plan {plan.number}")
                told = plan
            watchdog.look()

    def _alive_at_s(self) -> Mapping[str, float]:
        """When each thread that requests depend on came round last."""
        lanes = {lane.name: lane.alive_at_s for lane in self._lanes}
        return {"control": self._control.alive_at_s, "gateway": self._gateway.alive_at_s, **lanes}

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """The sockets for other machines, where the configuration wants some; what they need is imported then only."""
        metrics, remote = self._config.metrics, self._config.remote
        with contextlib.ExitStack() as opened:
            if metrics.listen is not None:
                from schedulerd.metrics.endpoint import MetricsEndpoint

                self._metrics = MetricsEndpoint(metrics.listen, self._clock)
                opened.callback(self._metrics.close)
            if remote.listen is not None:
                from schedulerd.remote import RemoteAccess

                self._remote = RemoteAccess(remote, remote.listen, self._clock)
                opened.callback(self._remote.close)
            yield

    def _is_wanted(self, timeout_s: float) -> bool:
        """Do the next job that comes within `timeout_s`; False once the daemon is to end."""
        if not self._ending:
            with contextlib.suppress(queue.Empty):
                self._jobs.get(timeout=timeout_s)()
        return not self._ending

    def _wait_until(self, holds: Callable[[], bool], timeout_s: float) -> None:
        """Poll in small steps: a stop is rare, and a lane should not have to tell anybody about it."""
        until_s = self._clock.now_s() + timeout_s
        never = threading.Event()
        while not holds() and self._clock.now_s() < until_s:
            self._clock.wait(never, 0.005)

    def _on_end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True
        self._jobs.put(lambda: None)

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        """One that comes during the start is done after it."""
        self._jobs.put(lambda: self._reloading.begin(None))

    def _recorder(self, config: Config) -> Record | None:
        limit_bytes = config.solver.record_bytes
        return Recorder(config.paths.state, limit_bytes, self._clock).record if limit_bytes else None

    def _defaults(self, config: Config) -> Defaults:
        """What `[models]` says; a name that stands for nothing is no reason not to serve the others."""
        models = config.models
        for alias, model in models.aliases.items():
            if model not in self._models:
                log.warning("alias_of_nothing", alias=alias, model=model, there_are=sorted(self._models))
        return Defaults(models.aliases, models.budgets_ms, models.budget_ms)

    def _read_all_again(self) -> Config:
        config = self._read_again()
        if self._remote is not None:
            self._remote.read_again(config.remote)
        return config

    def _reconfigure(self, before: Config, after: Config) -> None:
        """What a reload changes outside of the control loop; called by its thread."""
        self._control.tick_s = after.control.tick_s
        self._front.control_users = after.access.control_uids
        if after.models != before.models:
            self._front.defaults = self._defaults(after)
        if self._remote is not None:
            self._remote.admit()
        if after.solver.record_bytes != before.solver.record_bytes:
            self._loop.record_with(self._recorder(after))
        if after.log != before.log:
            logs.follow(after.log, self._journal_stream)
        else:
            # An operator's level held until now.
            logs.set_level(after.log.level)


class _EndedEarly(Exception):
    """SIGTERM came before the daemon was ready."""


class Lock:
    """One daemon per runtime directory: a second bind on an ipc path would silently steal it from the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> Lock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise SchedulerdError(
                f"cannot use the runtime directory {self._path.parent}: {error.strerror}; choose another with --runtime"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise AlreadyServing(
                f"{self._path.parent} is served by a live daemon (pid {holder}); stop it, or choose another directory "
                f"with --runtime"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        # The file stays: unlinking a lock file lets two processes lock two files of one name.
        os.close(self._file)
