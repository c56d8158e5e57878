"""What a worker is told to measure, as JSON on its standard input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blockprofiles.effort import Effort
from blockprofiles.table import Table
from blockstore.block import Model


@dataclass(frozen=True, slots=True)
class Job:
    """One worker's work."""

    models: tuple[Model, ...]
    paths: Mapping[str, Path]
    """Digest -> verified file. A blob without one is damaged or absent: nothing is said about it."""
    engine: str
    threads: int
    also: tuple[str, ...]
    """Engines beside the main one; see `engines_for`."""
    alternates: bool
    """Whether they, and fewer threads of the main one, are measured now."""
    only: frozenset[str]
    """Digests that are to be measured; of a designed effort those that a subset is chosen from."""
    effort: Effort
    budget_s: float | None
    table: Table
    """What is known: incomplete rows are gone on with, others stand in where a route needs them."""
    contention: bool
    background: bool
    """Whether anything else on the board goes first."""
    careful: bool
    """Whether every run is announced, because a worker has ended in one that was not. Then no company is measured."""
    batches: tuple[int, ...] = (1,)
    """Frames in one run; exits are only run on one."""
    device: str = "cpu"
    """Of the main engine; see `engines_for`."""

    def to_json(self) -> bytes:
        """UTF-8 JSON for `from_json`."""
        document = {
            "models": [json.loads(model.to_json()) for model in self.models],
            "paths": {digest: str(path) for digest, path in self.paths.items()},
            "engine": self.engine,
            "threads": self.threads,
            "also": self.also,
            "alternates": self.alternates,
            "only": sorted(self.only),
            "effort": asdict(self.effort),
            "budget_s": self.budget_s,
            "table": json.loads(self.table.to_json()),
            "contention": self.contention,
            "background": self.background,
            "careful": self.careful,
            "batches": self.batches,
            "device": self.device,
        }
        return json.dumps(document, allow_nan=False).encode()

    @staticmethod
    def from_json(data: bytes) -> Job:
        """The job; raises `BadManifest`, `BadTable`, KeyError, TypeError or ValueError for something else."""
        d: dict[str, Any] = json.loads(data)
        return Job(
            models=tuple(Model.from_json(json.dumps(m).encode()) for m in d["models"]),
            paths={str(digest): Path(path) for digest, path in d["paths"].items()},
            engine=str(d["engine"]),
            threads=int(d["threads"]),
            also=tuple(map(str, d["also"])),
            alternates=bool(d["alternates"]),
            only=frozenset(map(str, d["only"])),
            effort=Effort(**d["effort"]),
            budget_s=None if d["budget_s"] is None else float(d["budget_s"]),
            table=Table.from_json(json.dumps(d["table"]).encode()),
            contention=bool(d["contention"]),
            background=bool(d["background"]),
            careful=bool(d["careful"]),
            batches=tuple(map(int, d["batches"])),
            device=str(d["device"]),
        )
