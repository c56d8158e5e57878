"""Watching the board and acting in time, in figures: six scenes beside two baselines, a squeeze, what the loop costs.

Two parts, each of which goes on where another fails: `control_scenes` and `control_cost`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

from benchmarks import control_cost, control_scenes
from benchmarks.harness import Figure, Options, kept, main

Part = Callable[[Options, Path], Mapping[str, Figure]]
PARTS: tuple[tuple[tuple[str, ...], Part], ...] = (
    *((names, partial(control_scenes.measure, scene)) for scene, names in control_scenes.BY_SCENE.items()),
    (control_cost.FIGURES, control_cost.measure),
)
FIGURES = tuple(name for names, _ in PARTS for name in names)


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure that was asked for, or the reason why there is none."""
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="sched-") as folder:
        for names, part in PARTS:
            wanted = tuple(name for name in names if options.wants(name))
            if wanted:
                found |= kept(wanted, partial(_asked, part, wanted, options, Path(folder)))
    return found


def _asked(part: Part, wanted: Collection[str], options: Options, folder: Path) -> dict[str, Figure]:
    """Of what a part measures together, what was asked for."""
    return {name: figure for name, figure in part(options, folder).items() if name in wanted}


if __name__ == "__main__":
    sys.exit(main("control", FIGURES, measure))
