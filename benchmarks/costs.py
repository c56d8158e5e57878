"""How well costs are known before they are paid: routes, variants never measured, a changed board, memory, merging.

Costs do not depend on what a network has learnt, so the stores are of untrained variants, made in a minute; nothing of
../shared is needed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks import costs_drift, costs_memory, costs_regression, costs_routes
from benchmarks.cost_stores import cost_store
from benchmarks.harness import Figure, Options, kept, main

FIGURES = (
    *costs_routes.FIGURES,
    *costs_regression.FIGURES,
    *costs_memory.FIGURES,
    *costs_drift.FIGURES,
)


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure that was asked for."""
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="schedulerd-bench-") as name:
        scratch = Path(name)
        store = cost_store(scratch / "three", costs_routes.MODELS)
        parts: tuple[tuple[tuple[str, ...], Callable[[], Mapping[str, Figure]]], ...] = (
            (costs_routes.FIGURES, partial(costs_routes.measure, store, scratch, options.quick)),
            (costs_regression.FIGURES, partial(costs_regression.measure, scratch / "zoo", options.quick)),
            (
                costs_memory.FIGURES,
                partial(costs_memory.measure, store, scratch / "full", options.quick),
            ),
            (costs_drift.FIGURES, partial(costs_drift.measure, store, scratch / "drift", options.quick)),
        )
        for names, part in parts:
            if options.wants(*names):
                found |= kept(names, part)
    return {name: figure for name, figure in found.items() if options.wants(name)}


if __name__ == "__main__":
    sys.exit(main("costs", FIGURES, measure))
