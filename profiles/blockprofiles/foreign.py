"""Tables of other devices: kept whole beside one's own, so that each row's device and date stay known.

A foreign row says which of two variants is quicker, and hardly how quick either is here. It is used where nothing
better is known: a row that was measured or predicted on this device always wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from blockprofiles.device import Device
from blockprofiles.errors import BadTable
from blockprofiles.record import FOREIGN, MEASURED, Row
from blockprofiles.table import Table

UNCERTAINTY: Final = 1.0
"""Of a foreign row: a board may be twice as quick as another, or half."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought."""

    table: Table
    path: Path
    """Where it is kept."""
    rows: int
    """Rows that can be used: measured there, for the engine that runs here."""


def import_table(source: Path, directory: Path, device: Device) -> Imported:
    """Keep the table in the file `source` for `device`, whose profiles are in `directory`.

    Raises `BadTable` where it is none of this version, or has no row that can be used here; OSError where it cannot be
    read or kept.
    """
    try:
        table = Table.load(source)
    except BadTable as error:
        raise BadTable(f"{error}; export it again on its board: `schedulerd profile --export FILE`") from error
    if table.device == device:
        raise BadTable(f"{source} was measured on this very device; copy it to {directory / device.fingerprint}.json")
    usable = foreign_rows(table, device)
    if not usable:
        theirs = ", ".join(sorted({row.engine for row in table.rows})) or "none"
        raise BadTable(f"{source} has no measured row for {device.engine}, which runs here (its rows: {theirs})")
    path = _folder(directory) / f"{table.device.fingerprint}.json"
    table.save(path)
    return Imported(table, path, len(usable))


def imported_tables(directory: Path, device: Device) -> tuple[Table, ...]:
    """The tables that were imported, those of boards like `device` first; damaged ones are skipped with a warning."""
    tables = []
    for path in sorted(_folder(directory).glob("*.json")):
        try:
            tables.append(Table.load(path))
        except (BadTable, OSError) as error:
            log.warning("imported_profile_unreadable", reason=str(error), remedy="import it again, or remove it")
    return tuple(sorted(tables, key=lambda table: _distance(table.device, device)))


def with_foreign(table: Table, imported: Sequence[Table], digests: Iterable[str]) -> Table:
    """`table` with the best foreign row of each of `digests` of which nothing else is known. Not to be saved."""
    wanted = set(table.missing(digests))
    found: dict[str, Row] = {}
    for other in reversed(imported):
        found |= {row.digest: row for row in foreign_rows(other, table.device) if row.digest in wanted}
    return table.merged(found.values(), table.measured_at) if found else table


def origin(digest: str, imported: Sequence[Table], device: Device) -> Table | None:
    """The table from which `with_foreign` takes the row of a blob: its device, and when it was measured."""
    return next((t for t in imported if any(row.digest == digest for row in foreign_rows(t, device))), None)


def foreign_rows(table: Table, device: Device) -> tuple[Row, ...]:
    """What `table` can say about `device`: what was measured there, as rows of this device's engine and threads.

    Raw times and conditions are left out: they are the other board's.
    """
    rows = (table.row(digest) for digest in dict.fromkeys(row.digest for row in table.rows) if digest in table)
    return tuple(_as_foreign(row, device) for row in rows if row.engine == device.engine and row.source == MEASURED)


def _as_foreign(row: Row, device: Device) -> Row:
    return replace(
        row,
        threads=device.threads,
        source=FOREIGN,
        uncertainty=UNCERTAINTY,
        samples_ms=(),
        cold_samples_ms=(),
        energy_mj=None,
        clock_mhz=None,
        temperature_c=None,
        others=None,
        complete=False,
    )


def _distance(theirs: Device, ours: Device) -> tuple[bool, bool, int]:
    return (
        theirs.machine != ours.machine,
        theirs.cpu_model != ours.cpu_model,
        abs(theirs.threads - ours.threads),
    )


def _folder(directory: Path) -> Path:
    return directory / "imported"
