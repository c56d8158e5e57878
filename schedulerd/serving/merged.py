"""A loaded route with merged sessions in place of runs of its blocks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blockstore.assembly import LoadedBlock
from schedulerd.serving.route import Expected, ExpectedBlock, LoadedRoute, PinCount


@dataclass(frozen=True, slots=True)
class MergedRun:
    """One session that computes the blocks `first` to `last` of a route."""

    first: int
    last: int
    session: LoadedBlock


def with_merged(loaded: LoadedRoute, runs: Sequence[MergedRun]) -> LoadedRoute:
    """`loaded`, with nothing pinned, where each of `runs` is one block; it must have one for each block, and no exits.

    What is expected of a run is what its blocks come to: predictions add up the blocks' rows, so live timings have to
    be compared with that same sum, or what merging saves would never be seen in them.
    """
    if loaded.exits is not None or len(loaded.blocks) != len(loaded.route.digests):
        raise ValueError(f"route {loaded.route} has exits or merged blocks: it cannot be merged")
    starts = {run.first: run for run in runs}
    blocks: list[LoadedBlock] = []
    expected: list[ExpectedBlock] = []
    position = 0
    while position < len(loaded.blocks):
        run = starts.get(position)
        last = position if run is None else run.last
        blocks.append(loaded.blocks[position] if run is None else run.session)
        expected.append(_sum(loaded.expected[position : last + 1]))
        position = last + 1
    return replace(loaded, blocks=tuple(blocks), expected=tuple(expected), pins=PinCount())


def _sum(parts: Expected) -> ExpectedBlock:
    return ExpectedBlock(
        first=parts[0].first,
        digests=tuple(digest for part in parts for digest in part.digests),
        engine=parts[0].engine,
        median_ms=sum(part.median_ms for part in parts),
        cold_ms=sum(part.cold_ms for part in parts),
        p95_ms=sum(part.p95_ms for part in parts),
    )
