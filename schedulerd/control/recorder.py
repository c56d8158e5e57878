"""Decisions on disk: every problem with the plan that was found for it, in a file that never outgrows its limit.

One line of JSON is one decision, the oldest first, and `schedulerd replay` solves them again. A line is added with one
write. When the file is full its older half goes: the newer one is written aside and takes the file's name, so that at
any moment the file is whole but for its last line, which a kill may have torn. That line is not read, and the next one
takes its place. Lines are not synced: a power cut may take the latest, a kill does not. Only where the older half goes
is the disk waited for.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from blockstore.durable import PARTIAL, durable_file, make_folder
from blockstore.errors import BlockStoreError
from schedulerd.clock import Clock
from schedulerd.optimizer.document import plan_document, plan_from, problem_document, problem_from
from schedulerd.optimizer.problem import Problem
from schedulerd.optimizer.validate import BadProblem
from schedulerd.plan import Plan

FILE_NAME: Final = "decisions.jsonl"
"""Of the ring, in the state directory."""
MAX_LINE_BYTES: Final = 64 * 2**20
"""Of one decision; the largest problem that is accepted takes a tenth of this."""
LATEST_S: Final = 1e11
"""In the year 5138; dates end not far behind."""
_FIELDS: Final = frozenset(("at_s", "problem", "plan"))

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that was kept: what was known, and what was found best."""

    at_s: float
    """When, in Unix seconds."""
    problem: Problem
    plan: Plan
    """The solver's, whether or not it was worth the change."""

    def to_line(self) -> bytes:
        """JSON with a line's end; `BadProblem` for a number that JSON does not have."""
        document = {
            "at_s": self.at_s,
            "problem": problem_document(self.problem),
            "plan": plan_document(self.plan),
        }
        return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"


class Recorder:
    """Writes the ring file. Never raises what a disk does: a decision counts for more than the record of it."""

    def __init__(self, folder: Path, limit_bytes: int, clock: Clock) -> None:
        """Nothing is written before the first decision.

        Args: folder: of the ring file; limit_bytes: the most that it may take; clock: for the time of a decision.
        """
        self._path = folder / FILE_NAME
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._told = ""
        """The trouble that was told last: once is enough."""

    def record(self, problem: Problem, plan: Plan) -> None:
        """Add a decision; one that cannot be written is left out, and the log says why."""
        try:
            self._add(Recorded(self._clock.wall_s(), problem, plan).to_line())
        except (OSError, BlockStoreError) as error:
            self._tell(str(error), "make room on the disk, or let [solver] record be smaller or off")
        except BadProblem as error:
            self._tell(str(error), "profile the store again; the plan stands all the same")

    def _add(self, line: bytes) -> None:
        if len(line) > self._limit_bytes:
            self._tell(
                f"a decision takes {len(line)} bytes, the file may take {self._limit_bytes}",
                "let [solver] record be several times larger",
            )
            return
        make_folder(self._path.parent)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            whole_bytes = _mend(descriptor)
            if whole_bytes + len(line) <= self._limit_bytes:
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
                return
        finally:
            os.close(descriptor)
        self._begin_anew(line)

    def _begin_anew(self, line: bytes) -> None:
        """Let go of the older half, and add a line."""
        for left_behind in self._path.parent.glob(f"{self._path.name}.*{PARTIAL}"):
            left_behind.unlink()  # of a kill
        room_bytes = min(self._limit_bytes // 2, self._limit_bytes - len(line))
        kept = _newest(self._path, room_bytes)
        with durable_file(self._path, self._path.parent, 0o640) as file:
            file.write(kept + line)

    def _tell(self, reason: str, remedy: str) -> None:
        if reason != self._told:
            log.warning("decision_not_recorded", file=str(self._path), reason=reason, remedy=remedy)
        self._told = reason


def _mend(descriptor: int) -> int:
    """Cut off a line without an end; the bytes that are left."""
    size_bytes = os.fstat(descriptor).st_size
    if not size_bytes or os.pread(descriptor, 1, size_bytes - 1) == b"\n":
        return size_bytes
    whole_bytes = os.pread(descriptor, size_bytes, 0).rfind(b"\n") + 1
    os.ftruncate(descriptor, whole_bytes)
    return whole_bytes


def _newest(path: Path, room_bytes: int) -> bytes:
    """As many of the last lines as there is room for; the file ends with a line's end."""
    with path.open("rb") as file:
        # The line that crosses the edge is left out. One that begins just there is not, hence the byte before it.
        edge = os.fstat(file.fileno()).st_size - room_bytes - 1
        file.seek(max(0, edge))
        lines = file.read()
    return lines[lines.find(b"\n") + 1 :] if edge >= 0 else lines


def read_records(path: Path) -> Iterator[Recorded]:
    """The decisions of a ring file, the oldest first; a torn last line is skipped.

    Raises:
        BadProblem: a line is no decision; the message names the line and the place in it.
        OSError: the file cannot be read.
    """
    number = 0
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            place = f"{path}, line {number}"
            if len(line) == MAX_LINE_BYTES:
                raise BadProblem(f"{place} is longer than {MAX_LINE_BYTES} bytes: it is no decision")
            try:
                document = json.loads(line)
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    return
                raise BadProblem(f"{place} is not JSON: {error}") from error
            yield _record(document, place)


def _record(document: object, place: str) -> Recorded:
    if not isinstance(document, dict) or document.keys() != _FIELDS:
        raise BadProblem(f"{place} is no recorded decision: an object of {', '.join(sorted(_FIELDS))}")
    at_s = document["at_s"]
    if isinstance(at_s, bool) or not isinstance(at_s, int | float) or not 0 <= at_s <= LATEST_S:
        raise BadProblem(f"{place}: at_s is {at_s!r}; it must be Unix seconds, 0 to {LATEST_S:g}")
    problem = problem_from(document["problem"], f"{place}: problem")
    return Recorded(float(at_s), problem, plan_from(document["plan"], f"{place}: plan"))
