"""The profile of one device: rows, what cannot run, and what company does, as portable JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from blockprofiles.contention import Contention, Point, Slowdown
from blockprofiles.device import Device, difference
from blockprofiles.errors import BadTable, ForeignTable, MissingRow
from blockprofiles.record import FOREIGN, MEASURED, SOURCES, Row
from blockstore.durable import durable_file, make_folder

TABLE_FORMAT = "schedulerd-profile/2"


@dataclass(frozen=True, slots=True)
class Unusable:
    """A blob that crashed, hung or gave something else than it should while it was measured."""

    digest: str
    reason: str


@dataclass(frozen=True)
class Table:
    """What is known of one device with one main engine and thread count."""

    device: Device
    rows: tuple[Row, ...]
    """One for each blob, engine, threads and batch."""
    measured_at: str
    """When the newest rows were measured: ISO 8601, UTC."""
    unusable: tuple[Unusable, ...] = ()
    contention: Contention = Contention()  # noqa: RUF009 - frozen, so sharing the default is safe

    @cached_property
    def _by_digest(self) -> dict[str, Row]:
        """The row that a blob is run by: the quickest of those with one frame."""
        found: dict[str, Row] = {}
        for row in self.rows:
            known = found.get(row.digest)
            if row.batch == 1 and (known is None or _order(row) < _order(known)):
                found[row.digest] = row
        return found

    def __contains__(self, digest: str) -> bool:
        return digest in self._by_digest

    def row(self, digest: str) -> Row:
        """What the blob costs here, with the threads that suit it best; `MissingRow` when nothing is known of it."""
        row = self._by_digest.get(digest)
        if row is None:
            raise MissingRow(
                f"blob {digest[:12]} was never measured on {self.device.cpu_model} with "
                f"{self.device.engine} {self.device.engine_version}; run `schedulerd profile`"
            )
        return row

    @cached_property
    def _batches(self) -> dict[tuple[str, str, int], dict[int, float]]:
        """Of a blob, engine and threads: frames of each batch that was timed on this device -> median of a run."""
        found: dict[tuple[str, str, int], dict[int, float]] = {}
        for row in self.rows:
            if row.batch > 1 and row.source == MEASURED:
                found.setdefault((row.digest, row.engine, row.threads), {})[row.batch] = row.latency_ms
        return found

    def batches_ms(self, row: Row) -> tuple[tuple[int, float], ...]:
        """What batches take of the blob of `row`, with its engine and threads: `(frames, ms)` by rising number."""
        return tuple(sorted(self._batches.get((row.digest, row.engine, row.threads), {}).items()))

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Those of `digests` of which nothing is known, not even a prediction, each once, in the order given."""
        unusable = {u.digest for u in self.unusable}
        return tuple(d for d in dict.fromkeys(digests) if d not in self._by_digest and d not in unusable)

    def unfinished(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Those of `digests` that could still be measured here, or for longer, each once, in the order given."""
        unusable = {u.digest for u in self.unusable}
        return tuple(
            d
            for d in dict.fromkeys(digests)
            if d not in unusable
            and ((row := self._by_digest.get(d)) is None or row.source != MEASURED or not row.complete)
        )

    def merged(self, rows: Iterable[Row], measured_at: str) -> Table:
        """This table with `rows` added; a row replaces the one of its blob, engine, threads and batch."""
        newest = {row.key: row for row in (*self.rows, *rows)}
        return replace(self, rows=tuple(newest.values()), measured_at=measured_at)

    def without(self, unusable: Iterable[Unusable]) -> Table:
        """This table with blobs marked as unusable, which then have no rows."""
        marked = {u.digest: u for u in (*self.unusable, *unusable)}
        rows = tuple(row for row in self.rows if row.digest not in marked)
        return replace(self, rows=rows, unusable=tuple(marked.values()))

    def to_json(self) -> bytes:
        """UTF-8 JSON; `from_json` reads it on any machine."""
        document = {
            "format": TABLE_FORMAT,
            "fingerprint": self.device.fingerprint,
            "measured_at": self.measured_at,
            "device": asdict(self.device),
            "contention": asdict(self.contention),
            "unusable": [asdict(u) for u in self.unusable],
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
            rows = tuple(map(row_from, document["rows"]))
            unusable = tuple(Unusable(str(u["digest"]), str(u["reason"])) for u in document["unusable"])
            table = Table(device, rows, str(document["measured_at"]), unusable, contention_from(document["contention"]))
            recorded = str(document["fingerprint"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
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
            raise BadTable(f"{path}: {error}") from error
        if device is not None and table.device != device:
            differs = ", ".join(difference(table.device, device))
            raise ForeignTable(f"{path} was measured on another device ({differs})")
        return table


def _order(row: Row) -> tuple[bool, float]:
    """What was timed elsewhere says little here; of the rest the quickest counts."""
    return row.source == FOREIGN, row.latency_ms


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


def contention_from(d: dict[str, Any]) -> Contention:
    """Curves from `asdict` of them; raises `BadTable`, KeyError, TypeError or ValueError."""
    return Contention(_points(d["lanes"]), _points(d["others"]), bool(d["complete"]))


def _points(documents: Iterable[dict[str, Any]]) -> tuple[Point, ...]:
    points = [
        Point(float(p["load"]), Slowdown(float(p["slowdown"]["median"]), float(p["slowdown"]["p95"])))
        for p in documents
    ]
    if not all(
        0 <= p.load < float("inf") and 0 < min(p.slowdown.median, p.slowdown.p95) < float("inf") for p in points
    ):
        raise BadTable("the contention curves have points that are not positive and finite")
    return tuple(sorted(points, key=lambda p: p.load))


def row_from(d: dict[str, Any]) -> Row:
    """A row from `asdict` of one, checked; raises `BadTable`, KeyError, TypeError or ValueError."""
    row = Row(
        digest=str(d["digest"]),
        engine=str(d["engine"]),
        threads=int(d["threads"]),
        latency_ms=float(d["latency_ms"]),
        latency_p95_ms=float(d["latency_p95_ms"]),
        memory_bytes=int(d["memory_bytes"]),
        samples_ms=_numbers(d["samples_ms"]),
        batch=int(d["batch"]),
        cold_ms=_number(d["cold_ms"]),
        cold_samples_ms=_numbers(d["cold_samples_ms"]),
        arena_bytes=int(d["arena_bytes"]),
        source=str(d["source"]),
        uncertainty=float(d["uncertainty"]),
        energy_mj=_number(d["energy_mj"]),
        clock_mhz=_number(d["clock_mhz"]),
        temperature_c=_number(d["temperature_c"]),
        others=_number(d["others"]),
        complete=bool(d["complete"]),
    )
    # Written so that NaN, which no comparison holds for, is refused too.
    if not (0 < row.latency_ms <= row.latency_p95_ms < float("inf") and row.memory_bytes > 0 and row.uncertainty >= 0):
        raise BadTable(f"row of blob {row.digest[:12]} is not positive and finite")
    if row.source not in SOURCES:
        raise BadTable(f"row of blob {row.digest[:12]} has source {row.source!r}; it is one of {', '.join(SOURCES)}")
    return row


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _numbers(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(map(float, values))
