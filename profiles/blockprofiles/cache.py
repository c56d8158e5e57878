"""Profiles kept on disk, one file per device fingerprint, so that a board is measured once.

<directory>/<fingerprint>.json           what was measured on this device
<directory>/imported/<fingerprint>.json  tables of other devices, as they were exported there (`foreign`)
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from blockprofiles.device import Device, difference
from blockprofiles.errors import BadTable, ForeignTable
from blockprofiles.record import FOREIGN, MEASURED, Row
from blockprofiles.table import Table
from blockstore.errors import BlockStoreError

NEVER: Final = datetime.fromtimestamp(0, UTC).isoformat()
log = structlog.get_logger(__name__)


class Cache:
    """The file of one device. What is wrong with it is logged as a warning; nobody is kept from serving by it."""

    def __init__(self, directory: Path, device: Device) -> None:
        self.path = directory / f"{device.fingerprint}.json"
        self._device = device
        self._seen = _stamp(self.path)
        self.kept = True
        """Whether the file has what was saved last."""

    def load(self) -> Table:
        """What is known of the device: an empty table where that is nothing. A damaged file is set aside."""
        self._seen = _stamp(self.path)
        try:
            return Table.load(self.path, self._device)
        except FileNotFoundError:
            self._explain_others()
        except OSError as error:
            log.warning("profile_unreadable", reason=str(error), remedy="what is lacking is measured again")
        except (BadTable, ForeignTable) as error:
            self._set_aside(error)
        return empty(self._device)

    def save(self, table: Table) -> None:
        """Write the table; where that is not possible it is said once.

        Rows that another process has measured and saved meanwhile are kept.
        """
        if _stamp(self.path) != self._seen:
            table = self._with_saved(table)
        try:
            table.save(self.path)
            self.kept = True
        except (BlockStoreError, OSError) as error:
            if self.kept:
                remedy = f"make room in {self.path.parent} or let it be written; until then each start measures again"
                log.warning("profile_not_kept", reason=str(error), remedy=remedy)
            self.kept = False
        self._seen = _stamp(self.path)

    def _with_saved(self, table: Table) -> Table:
        try:
            return joined(table, Table.load(self.path, self._device))
        except (OSError, BadTable, ForeignTable):
            return table

    def _set_aside(self, error: Exception) -> None:
        aside: Path | None = self.path.with_suffix(".damaged")
        try:
            self.path.replace(self.path.with_suffix(".damaged"))
        except OSError:  # a directory that may not be written: the next start says the same
            aside = None
        log.warning(
            "profile_set_aside",
            reason=str(error),
            kept_as=str(aside or self.path),
            remedy="this device is measured again",
        )

    def _explain_others(self) -> None:
        """Say why a table that was used until now, before an update or in another board, is not used any more."""
        others = [table for path in sorted(self.path.parent.glob("*.json")) if (table := _readable(path)) is not None]
        if others:
            nearest = min(others, key=lambda table: len(difference(table.device, self._device)))
            log.warning(
                "profile_of_another_device",
                differs=", ".join(difference(nearest.device, self._device)),
                file=str(self.path.with_name(f"{nearest.device.fingerprint}.json")),
                remedy="this device is measured; `schedulerd profile --import FILE` uses the other's rows until then",
            )


def empty(device: Device) -> Table:
    """Nothing is known of `device` yet."""
    return Table(device, (), NEVER)


def joined(first: Table, second: Table) -> Table:
    """What two tables of one device know together: of two rows of the same thing the one that was measured longer.

    Foreign rows are left out, and those of blobs that either has marked; with equal rows `first` wins.
    """
    best: dict[tuple[str, str, int, int], Row] = {}
    for row in (*first.rows, *second.rows):
        if row.source != FOREIGN and (row.key not in best or _worth(row) > _worth(best[row.key])):
            best[row.key] = row
    merged = replace(first, rows=tuple(best.values())).without(second.unusable)
    curves = max(first.contention, second.contention, key=lambda c: (c.complete, bool(c.lanes)))
    return replace(merged, contention=curves)


def _worth(row: Row) -> tuple[bool, bool, int]:
    return row.source == MEASURED, row.complete, len(row.samples_ms)


def _readable(path: Path) -> Table | None:
    try:
        return Table.load(path)
    except (OSError, BadTable):
        return None


def _stamp(path: Path) -> tuple[int, int] | None:
    """Which version of a file this is: every save makes a new one."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
