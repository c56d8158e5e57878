"""The table of measured rows of one device: portable JSON, looked up by digest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from blockprofiles.device import Device
from blockprofiles.errors import BadTable, ForeignTable, MissingRow
from blockprofiles.record import Row
from blockstore.durable import durable_file, make_folder

TABLE_FORMAT = "schedulerd-profile/1"


@dataclass(frozen=True)
class Table:
    """Rows of one device, engine and thread count; one row per blob."""

    device: Device
    rows: tuple[Row, ...]
    measured_at: str
    """When the newest rows were measured: ISO 8601, UTC."""

    @cached_property
    def _by_digest(self) -> dict[str, Row]:
        return {row.digest: row for row in self.rows}

    def __contains__(self, digest: str) -> bool:
        return digest in self._by_digest

    def row(self, digest: str) -> Row:
        """What the blob costs here; `MissingRow` when it was never measured."""
        row = self._by_digest.get(digest)
        if row is None:
            raise MissingRow(
                f"blob {digest[:12]} was never measured on {self.device.cpu_model} with "
                f"{self.device.engine} {self.device.engine_version}; run `schedulerd profile`"
            )
        return row

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Those of `digests` that have no row, each once, in the order given."""
        return tuple(d for d in dict.fromkeys(digests) if d not in self._by_digest)

    def merged(self, rows: Iterable[Row], measured_at: str) -> Table:
        """This table with `rows` added; a row for a blob that has one replaces it."""
        newest = self._by_digest | {row.digest: row for row in rows}
        return Table(self.device, tuple(newest.values()), measured_at)

    def to_json(self) -> bytes:
        """UTF-8 JSON; `from_json` reads it on any machine."""
        document = {
            "format": TABLE_FORMAT,
            "fingerprint": self.device.fingerprint,
            "measured_at": self.measured_at,
            "device": asdict(self.device),
            "rows": [asdict(row) for row in self.rows],
        }
        return json.dumps(document, allow_nan=False).encode()

    @staticmethod
    def from_json(data: bytes) -> Table:
        """Parse and check a table; raises `BadTable` with the reason."""
        try:
            document = json.loads(data)
            if document["format"] != TABLE_FORMAT:
                raise BadTable(f"format is {document['format']!r}, this version reads {TABLE_FORMAT!r}")
            device = _device(document["device"])
            rows = tuple(map(_row, document["rows"]))
            table = Table(device, rows, str(document["measured_at"]))
            recorded = str(document["fingerprint"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadTable(f"not a profile table: {type(error).__name__}: {error}") from error
        if recorded != device.fingerprint:
            raise BadTable(f"the device in it has fingerprint {device.fingerprint}, the table says {recorded}")
        return table

    def save(self, path: Path) -> None:
        """Write the table at `path` whole or not at all."""
        make_folder(path.parent)
        with durable_file(path, path.parent, 0o644) as file:
            file.write(self.to_json())

    @staticmethod
    def load(path: Path, device: Device | None = None) -> Table:
        """Read a table; `ForeignTable` when it is not of `device` (None takes any device's)."""
        try:
            table = Table.from_json(path.read_bytes())
        except BadTable as error:
            raise BadTable(f"{path}: {error}; remove it and run `schedulerd profile`") from error
        if device is not None and table.device != device:
            raise ForeignTable(f"{path} was measured on another device ({_difference(table.device, device)})")
        return table


def _difference(table: Device, here: Device) -> str:
    theirs, ours = asdict(table), asdict(here)
    return ", ".join(f"{key} {theirs[key]!r}, here {ours[key]!r}" for key in ours if theirs[key] != ours[key])


def _device(d: dict[str, Any]) -> Device:
    return Device(
        cpu_model=str(d["cpu_model"]),
        machine=str(d["machine"]),
        cores=int(d["cores"]),
        governor=None if d["governor"] is None else str(d["governor"]),
        memory_bytes=int(d["memory_bytes"]),
        engine=str(d["engine"]),
        engine_version=str(d["engine_version"]),
        threads=int(d["threads"]),
    )


def _row(d: dict[str, Any]) -> Row:
    row = Row(
        digest=str(d["digest"]),
        engine=str(d["engine"]),
        threads=int(d["threads"]),
        latency_ms=float(d["latency_ms"]),
        latency_p95_ms=float(d["latency_p95_ms"]),
        memory_bytes=int(d["memory_bytes"]),
        samples_ms=tuple(float(s) for s in d["samples_ms"]),
    )
    # Written so that NaN, which no comparison holds for, is refused too.
    if not (0 < row.latency_ms <= row.latency_p95_ms < float("inf") and row.memory_bytes > 0):
        raise BadTable(f"row of blob {row.digest[:12]} is not positive and finite")
    return row
