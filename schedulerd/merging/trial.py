"""A trial: runs of blocks against their merged sessions, in the route that they are part of.

Both forms of the route run in turns on the same frame, so that a disturbance of the machine hits both alike. A turn is
a few passes of one form; the first is not timed, because its weights had to come back into the caches, and an app on a
settled route is what merging is for. Which form has the first turn changes from round to round.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from blockprofiles.bench import random_frame
from blockprofiles.resident import grown_bytes
from blockprofiles.rounds import median_uncertainty
from blockstore.assembly import LoadedBlock
from blockstore.block import TensorSpec
from blockstore.durable import durable_file, make_folder
from schedulerd.merging.graph import CannotMerge, merged_graph
from schedulerd.merging.verdict import Run, TrialJob, Verdict

FRAMES = 8
"""On which the outputs are compared."""
TOLERANCE = 1e-4
"""Of the largest number in an output: a merged graph may sum in another order, in float32."""
PASSES = 4
"""In one turn, the first of them untimed."""
MIN_ROUNDS = 5
STEADY_ROUNDS = 20
MAX_ROUNDS = 200
STEADY_UNCERTAINTY = 0.003
"""Of both medians, relative to them, that is small enough."""


class Loader(Protocol):
    """What a trial needs of an engine."""

    def load(self, path: Path) -> LoadedBlock:
        """A file as something that runs."""
        ...

    def feed(self, array: Any) -> Any:
        """A frame as the engine's tensor."""
        ...


@dataclass(frozen=True, slots=True)
class Entrant:
    """A run of blocks beside its merged session."""

    run: Run
    session: LoadedBlock
    file: Path
    verdict: Verdict


def tried(job: TrialJob, engine: Loader, now: Callable[[], float], alive: Callable[[], None]) -> tuple[Verdict, ...]:
    """A verdict for each run of the job, in its order. Files of those that are faster stay where the job wants them.

    `alive` is called again and again, at least between any two calls of the engine that may take long.
    """
    blocks = [engine.load(path) for path in job.blobs]
    batch = random_frame(TensorSpec(job.input.dtype, (FRAMES, *job.input.shape)))[0]
    frames = [engine.feed(batch[i : i + 1]) for i in range(FRAMES)]
    verdicts: dict[Run, Verdict] = {}
    entrants: list[Entrant] = []
    for run, file in zip(job.runs, job.files, strict=True):
        alive()
        try:
            entrants.append(_entrant(run, file, job, engine, blocks, frames))
        except CannotMerge as error:
            verdicts[run] = Verdict(fault=str(error))
    times = _timed(blocks, entrants, frames[0], job.budget_s, now, alive) if entrants else {}
    for entrant in entrants:
        verdicts[entrant.run] = verdict = _judged(entrant.verdict, *times[entrant.run])
        if not verdict.faster:
            entrant.file.unlink()
    return tuple(verdicts[run] for run in job.runs)


def _entrant(
    run: Run, file: Path, job: TrialJob, engine: Loader, blocks: Sequence[LoadedBlock], frames: Sequence[Any]
) -> Entrant:
    data = merged_graph(job.blobs[run.first : run.end])
    make_folder(file.parent)
    with durable_file(file, file.parent) as out:
        out.write(data)
    try:
        session = engine.load(file)
        _compare(run, session, blocks, frames)
        tensor = _given(run, blocks, frames[0])
        memory_bytes = grown_bytes(lambda: _run_copy(engine, file, tensor), len(data))
    except Exception as error:  # whatever an engine raises, the blocks serve as they are
        file.unlink()
        raise error if isinstance(error, CannotMerge) else CannotMerge(f"the merged session fails: {error}") from error
    return Entrant(run, session, file, Verdict(memory_bytes=memory_bytes, sha256=hashlib.sha256(data).hexdigest()))


def _compare(run: Run, session: LoadedBlock, blocks: Sequence[LoadedBlock], frames: Sequence[Any]) -> None:
    """Raises `CannotMerge` where the session gives anything else than the blocks, on what they are given in a route."""
    for frame in frames:
        expected = tensor = _given(run, blocks, frame)
        for block in blocks[run.first : run.end]:
            expected = block.run(expected)
        given = session.run(tensor)
        if (given.dtype, given.shape) != (expected.dtype, expected.shape):
            raise CannotMerge(f"it gives {given.dtype}{given.shape}, its blocks {expected.dtype}{expected.shape}")
        error, limit = _distance(given, expected), TOLERANCE * float(np.abs(expected).max(initial=0))
        # Written so that NaN, which no comparison holds for, is refused too.
        if not error <= limit:
            raise CannotMerge(f"its output differs from that of its blocks by {error:.3g}, allowed are {limit:.3g}")


def _distance(a: Any, b: Any) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0))


def _given(run: Run, blocks: Sequence[LoadedBlock], frame: Any) -> Any:
    """What the first block of the run is given for a frame."""
    tensor = frame
    for block in blocks[: run.first]:
        tensor = block.run(tensor)
    return tensor


def _run_copy(engine: Loader, file: Path, tensor: Any) -> LoadedBlock:
    copy = engine.load(file)
    copy.run(tensor)
    return copy


Samples = Mapping[Run, tuple[Sequence[float], Sequence[float]]]
"""Times in ms of each run: of its blocks, and of its session."""


def _timed(
    blocks: Sequence[LoadedBlock],
    entrants: Sequence[Entrant],
    frame: Any,
    budget_s: float,
    now: Callable[[], float],
    alive: Callable[[], None],
) -> Samples:
    """Until the medians are steady, or the time is up."""
    chain, merged = (list(_parts(blocks, entrants, merged=m)) for m in (False, True))
    samples: defaultdict[Run, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    end_s = now() + budget_s
    for done in range(MAX_ROUNDS):
        if done >= MIN_ROUNDS and (now() >= end_s or (done >= STEADY_ROUNDS and _steady(samples))):
            break
        order = (0, 1) if done % 2 == 0 else (1, 0)
        for form in order:
            for number in range(PASSES):
                alive()
                for run, time_ms in _pass((chain, merged)[form], frame, now):
                    if number > 0:
                        samples[run][form].append(time_ms)
    return samples


Part = tuple[Run | None, tuple[LoadedBlock, ...]]
"""A stretch of a route: the run that it stands for, or None for a block between runs, and what computes it."""


def _parts(blocks: Sequence[LoadedBlock], entrants: Sequence[Entrant], *, merged: bool) -> Iterator[Part]:
    """The route as a chain of blocks, or with the merged sessions in place of the runs."""
    starts = {e.run.first: e for e in entrants}
    position = 0
    while position < len(blocks):
        entrant = starts.get(position)
        if entrant is None:
            yield None, (blocks[position],)
            position += 1
        else:
            yield entrant.run, (entrant.session,) if merged else tuple(blocks[position : entrant.run.end])
            position = entrant.run.end


def _pass(parts: Sequence[Part], frame: Any, now: Callable[[], float]) -> Iterator[tuple[Run, float]]:
    """One frame through the route: time in ms of each run."""
    tensor, last_s = frame, now()
    for run, blocks in parts:
        for block in blocks:
            tensor = block.run(tensor)
        before_s, last_s = last_s, now()
        if run is not None:
            yield run, (last_s - before_s) * 1e3


def _steady(samples: Samples) -> bool:
    return all(median_uncertainty(times) <= STEADY_UNCERTAINTY for both in samples.values() for times in both)


def _judged(verdict: Verdict, chain: Sequence[float], merged: Sequence[float]) -> Verdict:
    """`verdict` with its times. The interval of a quotient of medians: relative half-widths add like errors."""
    chain_ms, merged_ms = float(np.median(chain)), float(np.median(merged))
    relative = float(np.hypot(median_uncertainty(chain), median_uncertainty(merged)))
    timed = replace(verdict, chain_ms=chain_ms, merged_ms=merged_ms, uncertainty=merged_ms / chain_ms * relative)
    return timed if timed.faster else replace(timed, sha256="")
