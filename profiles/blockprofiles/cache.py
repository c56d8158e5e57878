"""Profiles kept on disk, one file per device fingerprint, so that a board is measured once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from blockprofiles.bench import Engine
from blockprofiles.device import Device, read_device
from blockprofiles.errors import BadTable, ForeignTable
from blockprofiles.measure import disturbed, measure
from blockprofiles.table import Table
from blockstore.block import Model
from blockstore.errors import BlockStoreError

DEFAULT_BUDGET_S = 10.0
NEVER = datetime.fromtimestamp(0, UTC).isoformat()
log = structlog.get_logger(__name__)


def load_or_measure(
    models: Sequence[Model],
    engine: Engine,
    path_of: Callable[[str], Path],
    *,
    cache_directory: Path,
    threads: int,
    budget_s: float = DEFAULT_BUDGET_S,
    now: Callable[[], float] = time.perf_counter,
    progress: Callable[[float], None] | None = None,
    device: Device | None = None,
    force: bool = False,
) -> Table:
    """The profile of `models` on `device` (None: this one), from `<fingerprint>.json` in `cache_directory`.

    What has no row there is measured, in its share of `budget_s`, and added; with `force`, everything is.
    `progress` is told the share that is done, 0 to 1, and only if there is something to measure. A damaged file
    is set aside, a variant or exit that cannot be measured has no row, a table that cannot be saved is used all the
    same: each is logged as a warning, and so is a board that was busy with other work.
    """
    device = device or read_device(engine.name, engine.version(), threads)
    path = table_path(cache_directory, device)
    table = Table(device, (), NEVER) if force else _cached(path, device)
    wanted = {a.digest for m in models for a in m.artifacts() if a.engine == engine.name}
    lacking = table.missing(wanted)
    if not lacking:
        return table
    measured = measure(
        models,
        engine,
        path_of,
        threads=threads,
        budget_s=budget_s * len(lacking) / len(wanted),
        now=now,
        progress=progress or _unseen,
        known=wanted.difference(lacking),
    )
    for fault in measured.faults:
        log.warning("not_measured", reason=fault)
    if disturbed(measured.rows):
        log.warning("profile_disturbed", remedy="on a quiet board, run `schedulerd profile --force`")
    table = table.merged(measured.rows, datetime.now(UTC).isoformat(timespec="seconds"))
    _save(table, path)
    return table


def table_path(cache_directory: Path, device: Device) -> Path:
    """The file that holds the profile of `device`."""
    return cache_directory / f"{device.fingerprint}.json"


def _cached(path: Path, device: Device) -> Table:
    try:
        return Table.load(path, device)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("profile_unreadable", reason=str(error))
    except (BadTable, ForeignTable) as error:
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        log.warning("profile_set_aside", reason=str(error), kept_as=str(aside))
    return Table(device, (), NEVER)


def _save(table: Table, path: Path) -> None:
    try:
        table.save(path)
    except (BlockStoreError, OSError) as error:
        log.warning("profile_not_kept", reason=str(error), remedy="the next start measures again")


def _unseen(_share: float) -> None:
    """Progress that nobody looks at."""
