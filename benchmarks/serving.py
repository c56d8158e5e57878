"""Serving in figures: what it adds to a request, what it sustains beside its peers, swaps, preemption, a long soak.

Five parts, each of which goes on where another fails: `serving_overhead`, `serving_peers`, `serving_preempt`,
`serving_swaps`, `serving_soak`. Both sides of every ratio are measured in one run, taking turns.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

from benchmarks import serving_overhead, serving_peers, serving_preempt, serving_soak, serving_swaps
from benchmarks.harness import Figure, Options, kept, main

Part = Callable[[Options, Path], Mapping[str, Figure]]
PARTS: tuple[tuple[tuple[str, ...], Part], ...] = (
    (serving_overhead.FIGURES, serving_overhead.measure),
    (serving_peers.FIGURES, serving_peers.measure),
    (serving_preempt.FIGURES, serving_preempt.measure),
    (serving_swaps.FIGURES, serving_swaps.measure),
    (serving_soak.FIGURES, serving_soak.measure),
)
FIGURES = tuple(name for names, _ in PARTS for name in names)


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure that was asked for, or the reason why there is none."""
    found: dict[str, Figure] = {}
    for names, part in PARTS:
        wanted = tuple(name for name in names if options.wants(name))
        if wanted:
            # Paths of sockets are short, so the folder is not in a longer one.
            with tempfile.TemporaryDirectory(prefix="sched-") as folder:
                found |= kept(wanted, partial(_asked, part, wanted, options, Path(folder)))
    return found


def _asked(part: Part, wanted: Collection[str], options: Options, folder: Path) -> dict[str, Figure]:
    """Of what a part measures together, what was asked for."""
    return {name: figure for name, figure in part(options, folder).items() if name in wanted}


if __name__ == "__main__":
    sys.exit(main("serving", FIGURES, measure, soak=True))
