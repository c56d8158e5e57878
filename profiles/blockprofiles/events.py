"""What a profiler process says while it measures: one event a line, as JSON. Both ends of the pipe use this file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from blockprofiles.contention import Contention
from blockprofiles.errors import BadTable
from blockprofiles.record import Row
from blockprofiles.table import Unusable, contention_from, row_from


@dataclass(frozen=True, slots=True)
class Begun:
    """Something risky begins: a blob is read, loaded or run for the first time. None when that has ended well."""

    digest: str | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as far as they are known: a checkpoint."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A blob turned out to be unusable, and the process goes on."""

    unusable: Unusable


@dataclass(frozen=True, slots=True)
class Progress:
    """The share that is done, 0 to 1, and the seconds that the rest is expected to take; None where nobody knows."""

    share: float
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Curves:
    """What company does to latency here."""

    contention: Contention


@dataclass(frozen=True, slots=True)
class Done:
    """All that was asked for has been done. A process that ends without this has failed."""


Event = Begun | Rows | Fault | Progress | Curves | Done


def to_line(event: Event) -> bytes:
    """One line of UTF-8 JSON with its line feed."""
    document = {"event": _NAMES[type(event)], **asdict(event)}
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def from_line(line: bytes) -> Event | None:
    """The event of a line; None for a line that is none, such as what a library printed."""
    try:
        document = json.loads(line)
        return _READERS[document["event"]](document)
    except (BadTable, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _begun(d: Mapping[str, Any]) -> Begun:
    return Begun(None if d["digest"] is None else str(d["digest"]))


def _fault(d: Mapping[str, Any]) -> Fault:
    return Fault(Unusable(str(d["unusable"]["digest"]), str(d["unusable"]["reason"])))


def _progress(d: Mapping[str, Any]) -> Progress:
    return Progress(float(d["share"]), None if d["left_s"] is None else float(d["left_s"]))


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Event]]] = {
    "begun": _begun,
    "rows": lambda d: Rows(tuple(map(row_from, d["rows"]))),
    "fault": _fault,
    "progress": _progress,
    "curves": lambda d: Curves(contention_from(d["contention"])),
    "done": lambda _: Done(),
}
_NAMES: Final[Mapping[type, str]] = {
    Begun: "begun",
    Rows: "rows",
    Fault: "fault",
    Progress: "progress",
    Curves: "curves",
    Done: "done",
}
