"""The profile of a store on this board: what is cached, and a worker process for what is lacking."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

import structlog

from blockprofiles.bench import Engine
from blockprofiles.cache import Cache, empty, joined
from blockprofiles.device import Device, read_device
from blockprofiles.effort import QUICK, Effort
from blockprofiles.events import Progress
from blockprofiles.foreign import imported_tables, with_foreign
from blockprofiles.process import SILENCE_S
from blockprofiles.record import MEASURED, Row
from blockprofiles.rounds import BUSY
from blockprofiles.supervise import Supervisor
from blockprofiles.table import Table
from blockstore.block import Model
from blockstore.errors import BlockStoreError
from schedulerd.profiling.job import Job
from schedulerd.profiling.work import Work, forgotten, opened, work_left

MISHAPS_S: Final = 60.0
"""What variants that hang may add to the time of a first start, which a service manager watches."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is profiled, and where that is kept."""

    models: tuple[Model, ...]
    engines: Sequence[Engine]
    """As they serve: the main one first, its alternates after it."""
    path_of: Callable[[str], Path]
    """The verified file of a blob; raises `BlockStoreError` for one that is damaged or absent."""
    directory: Path
    """Of the cached tables."""
    runs_on: str = "cpu"
    """The device that the main engine was made for."""

    @property
    def device(self) -> Device:
        """This board, with the main engine."""
        main = self.engines[0]
        return read_device(main.name, main.version(), main.threads)


@dataclass(frozen=True, slots=True)
class Manner:
    """How it is measured."""

    effort: Effort
    budget_s: float | None = None
    """Measuring time; None: until the effort is satisfied."""
    limit_s: float | None = None
    """For everything, blobs that hang included. None: no limit."""
    silence_s: float = SILENCE_S
    force: bool = False
    """Measure what is known as well."""
    background: bool = False
    """Let anything else on the board go first."""
    batches: tuple[int, ...] = (1,)
    """Frames in one run; a designed effort knows only one."""
    command: Sequence[str] | None = None
    """Of the worker; None for ours."""


def first_start(seconds: float, silence_s: float, turns: int = 1) -> Manner:
    """How a daemon measures before it serves: quickly, whatever hangs. The rest is measured while it is idle.

    `turns`: how often it does so, with other engines; mishaps take no longer for it.
    """
    return Manner(QUICK, seconds, limit_s=seconds + MISHAPS_S / turns, silence_s=silence_s)


class Profile:
    """One profile: `run` is called once, by one thread; any other may look at `table` and `stop` it."""

    def __init__(
        self,
        subject: Subject,
        manner: Manner,
        *,
        known: Table | None = None,
        watch: Callable[[Progress], None] | None = None,
        now: Callable[[], float] = time.monotonic,
        device: Device | None = None,
    ) -> None:
        """A profile that has not begun.

        Args:
            subject: what is profiled.
            manner: how.
            known: what is known besides what is cached: all there is where nothing can be saved.
            watch: told how far it is while there is something to measure; what it raises ends everything and passes.
            now: monotonic seconds.
            device: None for this one.
        """
        self._subject, self._manner, self._known, self._now = subject, manner, known, now
        self._device = device or subject.device
        self._cache = Cache(subject.directory, self._device)
        self._paths: dict[str, Path] = {}
        self.imported: tuple[Table, ...] = ()
        """Tables of other boards, the nearest first."""
        self._spent_from_s = now()
        self._supervisor = Supervisor(
            manner.command or worker_command(),
            self._job,
            self._keep,
            watch=watch or _unseen,
            now=now,
            silence_s=manner.silence_s,
            limit_s=manner.limit_s,
        )
        self.table = empty(self._device)
        """The newest, as `run` gives it."""

    @property
    def path(self) -> Path | None:
        """The file that it is kept in; None where that could not be written."""
        return self._cache.path if self._cache.kept else None

    def run(self) -> Table:
        """What is known when everything is measured, the time is up, or it was stopped.

        Nothing that is wrong with a blob, with the board or with the directory keeps it from giving what it has: it is
        logged as a warning, with the remedy.
        """
        known = self._cache.load()
        if self._known is not None:
            known = joined(self._known, known)
        self.imported = imported_tables(self._subject.directory, self._device)
        table = forgotten(known, self._manner.effort) if self._manner.force else opened(known, self._manner.effort)
        if self._work(table):
            self._paths = self._readable()
            self._spent_from_s = self._now()
            table = self._supervisor.run(table)
            _tell_busy(known, table)
        self.table = self._served(table)
        return self.table

    def stop(self) -> None:
        """Kill the worker; `run` returns what is known by then, and all of it is kept."""
        self._supervisor.stop()

    def _work(self, table: Table) -> Work:
        manner = self._manner
        return work_left(table, self._subject.models, self._subject.engines, manner.effort, manner.batches)

    def _job(self, table: Table, careful: bool) -> bytes | None:
        work = self._work(table)
        only = work.digests & self._paths.keys()
        if not only and not work.contention:
            return None
        subject, manner = self._subject, self._manner
        main, *alternates = subject.engines
        budget_s = manner.budget_s
        job = Job(
            models=subject.models,
            paths=self._paths,
            engine=main.name,
            threads=main.threads,
            also=tuple(dict.fromkeys(engine.name for engine in alternates if engine.name != main.name)),
            alternates=not manner.effort.designed,
            only=only,
            effort=manner.effort,
            budget_s=None if budget_s is None else max(0.0, budget_s - (self._now() - self._spent_from_s)),
            table=table,
            contention=work.contention,
            background=manner.background,
            batches=manner.batches,
            careful=careful,
            device=subject.runs_on,
        )
        return job.to_json()

    def _readable(self) -> dict[str, Path]:
        """The files of all blobs. What is wrong with the others may be mended, so that they are not marked."""
        names = {engine.name for engine in self._subject.engines}
        found: dict[str, Path] = {}
        for digest in dict.fromkeys(a.digest for m in self._subject.models for a in m.artifacts() if a.engine in names):
            try:
                found[digest] = self._subject.path_of(digest)
            except (BlockStoreError, OSError) as error:
                log.warning("blob_not_measured", digest=digest, reason=str(error))
        return found

    def _keep(self, table: Table) -> None:
        self._cache.save(table)
        self.table = self._served(table)

    def _served(self, table: Table) -> Table:
        return served(table, self._subject, self.imported)


def worker_command() -> tuple[str, ...]:
    """How a worker is started that ends with this process."""
    return sys.executable, "-m", "schedulerd.profiling.worker", str(os.getpid())


def load_or_measure(subject: Subject, manner: Manner, *, watch: Callable[[Progress], None] | None = None) -> Table:
    """The profile that a daemon plans with, measured as far as it is lacking; see `Profile`."""
    return Profile(subject, manner, watch=watch).run()


def served(table: Table, subject: Subject, imported: Sequence[Table]) -> Table:
    """What of `table` the engines of `subject` can run, and foreign rows for what nothing is known of."""
    runs = {(engine.name, engine.threads) for engine in subject.engines}
    own = replace(table, rows=tuple(row for row in table.rows if (row.engine, row.threads) in runs))
    wanted = [a.digest for m in subject.models for a in m.artifacts() if a.engine == table.device.engine]
    return with_foreign(own, imported, wanted)


def busy_share(rows: Sequence[Row]) -> float | None:
    """Share of the measuring core's time that other programs had, at the median; None where it could not be read."""
    shares = [row.others for row in rows if row.others is not None]
    return median(shares) if shares else None


def _tell_busy(before: Table, after: Table) -> None:
    known = set(before.rows)
    share = busy_share([row for row in after.rows if row.source == MEASURED and row not in known])
    if share is not None and share > BUSY:
        log.warning(
            "profile_disturbed",
            others=round(share, 3),
            reason=f"other programs had {share:.0%} of the core that was measured on, so the times are too long",
            remedy="on a quiet board, run `schedulerd profile --force`",
        )


def _unseen(_: Progress) -> None:
    """Progress that nobody looks at."""
