"""How many lanes, of how many threads each, serve most frames on this board: pure.

Many small blocks gain little from a second thread, which then serves better as a lane; large ones gain nearly as much,
and one lane answers sooner. Two virtual cores, onnxruntime, frames a second of 1 lane of 1 thread, 2 of 1 and 1 of 2:
ResNet-20 707, 1159, 746; MobileNetV2 at 224 x 224 51.7, 98.1, 62.8; ResNet-18 23.1, 46.7, 41.6 (a frame of the last
takes 43, 43 and 24 ms).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from blockprofiles.table import Table
from blockstore.block import Model

NEARLY: Final = 0.9
"""Of the best throughput: what has at least this much of it with fewer lanes, or then fewer threads, is preferred."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Lanes with their threads."""

    lanes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.lanes} x {self.threads}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A layout, and why it was chosen."""

    layout: Layout
    why: str


def threads_to_try(cores: int, threads_per_lane: int) -> tuple[int, ...]:
    """Threads of a lane that a board of `cores` is measured with: all, half, one; or just those that were given."""
    if threads_per_lane:
        return (threads_per_lane,)
    return tuple(sorted({cores, max(1, cores // 2), 1}, reverse=True))


def choose(models: Sequence[Model], tables: Mapping[int, Table], cores: int) -> Choice:
    """The layout that serves most frames of all `models` in turn.

    All usable cores count: what waits for messages is a lane itself, and lanes sleep while there is nothing to do. By
    throughput, lanes / (time of a frame x what so many busy lanes do to it); of those that are nearly as good, the one
    with the fewest lanes, because a frame is answered sooner by a lane of more threads, and of these the one with the
    fewest threads, because they leave cores to others.

    Args: models; tables: by threads of a lane, which are the main engine's threads of each table; cores: that may be
    used.
    """
    widest = Layout(1, max(tables))
    known = [model for model in models if all(_frame_ms(model, table) is not None for table in tables.values())]
    if not known:
        return Choice(widest, "no model is measured with every number of threads")
    rates = {
        layout: 1e3 * len(known) * layout.lanes / _turn_ms(known, tables[layout.threads], layout.lanes)
        for layout in _layouts(tables, cores)
    }
    enough = NEARLY * max(rates.values())
    chosen = min(
        (layout for layout, rate in rates.items() if rate >= enough), key=lambda layout: (layout.lanes, layout.threads)
    )
    listed = ", ".join(f"{layout}: {rate:.3g}" for layout, rate in sorted(rates.items(), key=lambda i: -i[1]))
    return Choice(chosen, f"frames/s of {len(known)} of {len(models)} models in turn, lanes x threads: {listed}")


def _layouts(tables: Mapping[int, Table], cores: int) -> Iterator[Layout]:
    """Doubling lanes, and the most that there are cores for."""
    for threads in tables:
        most = max(1, cores // threads)
        for lanes in sorted({most, *(2**n for n in range(most.bit_length()))}):
            if lanes <= most:
                yield Layout(lanes, threads)


def _turn_ms(models: Sequence[Model], table: Table, lanes: int) -> float:
    """One frame of each model on one of `lanes` busy ones."""
    alone_ms = sum(_frame_ms(model, table) or 0.0 for model in models)
    return alone_ms * table.contention.of_lanes(lanes).median


def _frame_ms(model: Model, table: Table) -> float | None:
    """A frame on the original route that follows another model's; None where a block has no form or is not known."""
    artifacts = [block.variants[0].artifact(table.device.engine) for block in model.blocks]
    if not all(artifact is not None and artifact.digest in table for artifact in artifacts):
        return None
    return sum(table.row(artifact.digest).after_others_ms for artifact in artifacts if artifact is not None)
