"""What the process of a trial says: one event a line, as JSON. Both ends of the pipe use this file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from schedulerd.merging.verdict import Verdict, verdict_from

ALIVE = b'{"event":"alive"}\n'


@dataclass(frozen=True, slots=True)
class Alive:
    """It goes on."""


@dataclass(frozen=True, slots=True)
class Impossible:
    """No trial can be made here; `reason` says what is lacking."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tried:
    """The verdicts on the runs of the job, in its order."""

    verdicts: tuple[Verdict, ...]


Event = Alive | Impossible | Tried


def impossible_line(reason: str) -> bytes:
    """`Impossible` as a line."""
    return json.dumps({"event": "impossible", "reason": reason}).encode() + b"\n"


def tried_line(verdicts: Sequence[Verdict]) -> bytes:
    """`Tried` as a line."""
    return json.dumps({"event": "tried", "verdicts": [asdict(v) for v in verdicts]}, allow_nan=False).encode() + b"\n"


def from_line(line: bytes) -> Event | None:
    """The event of a line; None for a line that is none."""
    try:
        document = json.loads(line)
        if document["event"] == "impossible":
            return Impossible(str(document["reason"]))
        if document["event"] == "tried":
            return Tried(tuple(map(verdict_from, document["verdicts"])))
        return Alive() if document["event"] == "alive" else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
