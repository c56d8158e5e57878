"""What is asked of a trial and what comes of it, as frozen values and as JSON between two processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blockstore.block import TensorSpec

LEAST_GAIN = 0.02
"""Share of the blocks' time that merging must save; less is not worth the memory of a second copy."""


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """Neighbouring blocks of a route: `first` to `end`, without `end`."""

    first: int
    end: int

    def __str__(self) -> str:
        return f"{self.first}-{self.end - 1}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run of blocks is faster as one session."""

    chain_ms: float = 0.0
    """Median time of the blocks one after the other; 0 where nothing was timed."""
    merged_ms: float = 0.0
    """Median time of the one session."""
    uncertainty: float = 0.0
    """Half-width of the 95% interval of `gain`."""
    memory_bytes: int = 0
    """Resident bytes that the session adds."""
    sha256: str = ""
    """Of the file; empty where none was kept."""
    fault: str = ""
    """Why the blocks cannot be merged at all; empty where they can."""

    @property
    def gain(self) -> float:
        """Share of the blocks' time that merging saves, below 0 where it costs time."""
        return 1 - self.merged_ms / self.chain_ms if self.chain_ms > 0 else 0.0

    @property
    def faster(self) -> bool:
        """Whether it saves a share worth having, and more than its own uncertainty."""
        return not self.fault and self.gain > max(LEAST_GAIN, self.uncertainty)

    def to_json(self) -> bytes:
        """UTF-8 JSON."""
        return json.dumps(asdict(self), allow_nan=False).encode()

    @staticmethod
    def from_json(data: bytes) -> Verdict:
        """`ValueError` for what `to_json` did not write."""
        try:
            return verdict_from(json.loads(data))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a verdict: {error}") from error

    def refused(self, fault: str) -> Verdict:
        """The same, but not to be used."""
        return replace(self, fault=fault, sha256="")


def verdict_from(document: Any) -> Verdict:
    """A verdict of what `asdict` made of it; KeyError, TypeError and ValueError for anything else."""
    return Verdict(
        chain_ms=float(document["chain_ms"]),
        merged_ms=float(document["merged_ms"]),
        uncertainty=float(document["uncertainty"]),
        memory_bytes=int(document["memory_bytes"]),
        sha256=str(document["sha256"]),
        fault=str(document["fault"]),
    )


@dataclass(frozen=True, slots=True)
class TrialJob:
    """Which runs of one route are to be tried."""

    threads: int
    """Of onnxruntime, for every block."""
    input: TensorSpec
    """Of the model."""
    blobs: tuple[Path, ...]
    """All blocks of the route, in order."""
    runs: tuple[Run, ...]
    """By rising `first`, none overlapping another."""
    files: tuple[Path, ...]
    """Where the merged graph of each run goes; one that is not faster is removed again."""
    budget_s: float
    """Time for timing, after loading."""

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON."""
        document = {
            "threads": self.threads,
            "input": asdict(self.input),
            "blobs": list(map(str, self.blobs)),
            "runs": [[run.first, run.end] for run in self.runs],
            "files": list(map(str, self.files)),
            "budget_s": self.budget_s,
        }
        return json.dumps(document).encode() + b"\n"

    @staticmethod
    def from_json(line: bytes) -> TrialJob:
        """What `to_json` wrote."""
        document = json.loads(line)
        return TrialJob(
            threads=int(document["threads"]),
            input=TensorSpec(str(document["input"]["dtype"]), tuple(map(int, document["input"]["shape"]))),
            blobs=tuple(map(Path, document["blobs"])),
            runs=tuple(Run(int(first), int(end)) for first, end in document["runs"]),
            files=tuple(map(Path, document["files"])),
            budget_s=float(document["budget_s"]),
        )
