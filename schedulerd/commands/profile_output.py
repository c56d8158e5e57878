"""What `schedulerd profile` prints: a row for each variant and exit, what cannot be used, and how it was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from blockprofiles.foreign import origin
from blockprofiles.record import FOREIGN, MEASURED, Row
from blockprofiles.table import Table
from blockstore.block import Artifact
from schedulerd.commands.tables import table
from schedulerd.profiling.profile import Subject, busy_share
from schedulerd.sizes import size_text

HEADER: Final = ("MODEL", "BLOCK", "VARIANT", "MS", "+-", "COLD MS", "P95", "MEMORY", "ON", "SOURCE")
NUMBERS: Final = ("BLOCK", "MS", "+-", "COLD MS", "P95", "MEMORY")


class _Place(NamedTuple):
    """Where in a store a blob is."""

    model: str
    block: int
    variant: str | None
    exit: str | None


@dataclass(frozen=True)
class Result:
    """A finished profile."""

    subject: Subject
    table: Table
    path: Path | None
    """Where it is kept; None where that was not possible."""
    imported: Sequence[Table]

    def whole(self) -> bool:
        """Whether something is known of everything."""
        return all(row["source"] for row in self._rows())

    def document(self) -> dict[str, Any]:
        """Everything, with every sample."""
        known = self.table
        return {
            "device": asdict(known.device),
            "fingerprint": known.device.fingerprint,
            "measured_at": known.measured_at,
            "file": None if self.path is None else str(self.path),
            "contention": asdict(known.contention),
            "rows": list(self._rows()),
        }

    def lines(self) -> Iterator[str]:
        """For a person."""
        rows = list(self._rows())
        yield from table(HEADER, [_cells(row) for row in rows], NUMBERS)
        yield ""
        yield from dict.fromkeys(
            f"{row['model']} block {row['block']} {_place(row)} is not used: {row['unusable']}"
            for row in rows
            if row["unusable"]
        )
        yield from self._origins(rows)
        device = self.table.device
        yield (
            f"{device.cpu_model}, {device.cores} cores, governor {device.governor or 'unknown'}; "
            f"{device.engine} {device.engine_version}, threads per block: {device.threads}"
        )
        if conditions := conditions_text([row for row in self.table.rows if row.source == MEASURED]):
            yield conditions
        if open_ := len({row["digest"] for row in rows if _is_open(row)}):
            count = len({row["digest"] for row in rows})
            yield f"{open_} of {count} blobs could be measured, or for longer: run it again; a daemon does so when idle"
        kept = "not kept: see the warning" if self.path is None else f"kept in {self.path}"
        yield f"measured {self.table.measured_at}, {kept}"

    def _origins(self, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
        """Where foreign rows come from."""
        foreign = [row["digest"] for row in rows if row["source"] == FOREIGN]
        tables = [origin(digest, self.imported, self.table.device) for digest in foreign]
        yield from dict.fromkeys(
            f"foreign: {t.device.cpu_model}, {t.device.engine} {t.device.engine_version}, measured {t.measured_at}"
            for t in tables
            if t is not None
        )

    def _rows(self) -> Iterator[dict[str, Any]]:
        """One for each variant and exit, and engine that has an artifact of it, in the order of the store."""
        engines = tuple(dict.fromkeys(engine.name for engine in self.subject.engines))
        for model in self.subject.models:
            for block in model.blocks:
                for variant in block.variants:
                    for artifact in filter(None, map(variant.artifact, engines)):
                        place = _Place(model.name, block.index, variant.name, None)
                        yield self._row(artifact, place)
                        yield from self._of_batches(artifact, place)
            for e in model.exits:
                if head := e.artifact(engines[0]):
                    yield self._row(head, _Place(model.name, e.block, None, e.name))

    def _row(self, artifact: Artifact, place: _Place) -> dict[str, Any]:
        marked = {u.digest: u.reason for u in self.table.unusable}
        row = self.table.row(artifact.digest) if artifact.digest in self.table else None
        figures = asdict(row) if row else dict.fromkeys(Row.__dataclass_fields__)
        return {**place._asdict(), **figures, "digest": artifact.digest, "unusable": marked.get(artifact.digest)}

    def _of_batches(self, artifact: Artifact, place: _Place) -> Iterator[dict[str, Any]]:
        """Rows of several frames in one run."""
        for row in self.table.rows:
            if row.digest == artifact.digest and row.batch > 1:
                yield {**place._asdict(), **asdict(row), "unusable": None}


def exported(table: Table) -> Table:
    """What another board may be told: without what comes from others itself."""
    return replace(table, rows=tuple(row for row in table.rows if row.source != FOREIGN))


def conditions_text(rows: Sequence[Row]) -> str:
    """Clock, temperature and other programs while `rows` were measured, as far as the kernel tells; may be empty."""
    parts = (
        _range([row.clock_mhz for row in rows], lambda low, high: f"clock {low:.0f} to {high:.0f} MHz"),
        _range([row.temperature_c for row in rows], lambda _, high: f"up to {high:.0f} degrees C"),
        None if (share := busy_share(rows)) is None else f"other programs had {share:.0%} of the cores",
    )
    return ", ".join(filter(None, parts))


def _range(values: Sequence[float | None], text: Callable[[float, float], str]) -> str | None:
    known = [value for value in values if value is not None]
    return text(min(known), max(known)) if known else None


def _is_open(row: dict[str, Any]) -> bool:
    return not row["unusable"] and (row["source"] != MEASURED or not row["complete"])


def _place(row: dict[str, Any]) -> str:
    place = row["variant"] or f"exit {row['exit']}"
    return place if row["batch"] in (None, 1) else f"{place} x {row['batch']} frames"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    place = row["model"], str(row["block"]), _place(row)
    if not row["source"]:
        return *place, *("-" * 6), "unusable" if row["unusable"] else "unknown"
    cold_ms = row["cold_ms"]
    return (
        *place,
        f"{row['latency_ms']:.3f}",
        f"{row['uncertainty']:.1%}",
        "-" if cold_ms is None else f"{cold_ms:.3f}",
        f"{row['latency_p95_ms']:.3f}",
        size_text(row["memory_bytes"]),
        f"{row['engine']} x{row['threads']}",
        row["source"] if row["complete"] or row["source"] != MEASURED else "measured in part",
    )
