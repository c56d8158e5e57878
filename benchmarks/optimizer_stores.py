"""Decisions over real stores: networks with their profile on this machine, and co-running apps drawn from them.

After LegoDNN's evaluation of several networks at once (MobiCom'21, section 4): 1 to 6, 2 to 8 or 3 to 10 apps run
together, each a network drawn at random, and the more there are the less is left for each. There the resources are a
phone's; here they are one lane, and memory for a part of what all networks take.

Neither LegoDNN nor whole models have exits, so apps are drawn without.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.costs_routes import profiled
from blockstore.block import Model
from blockstore.store import Store
from schedulerd.control.catalogue import Catalogue
from schedulerd.demo.stock import demo_store
from schedulerd.optimizer.objectives import MAX_ACCURACY, MIN_LATENCY
from schedulerd.optimizer.problem import AppOptions, Limits, Problem
from schedulerd.plan import App
from schedulerd.serving.engines.onnx import OnnxEngine

RANGES: Final = {"small": (1, 6), "medium": (2, 8), "large": (3, 10)}
"""Of co-running apps."""


@dataclass(frozen=True, slots=True)
class Manner:
    """What is drawn, each evenly between two values."""

    lane_shares: tuple[float, float]
    """Of a lane that the average original takes at the app's rate; cameras do not slow down for large networks."""
    budget_periods: tuple[float, float]
    """Times between two frames that an answer may take."""
    memory_shares: tuple[float, float]
    """Of what the originals of all networks take."""
    floors: tuple[float, float] = (0.0, 0.0)
    """Accuracy that each app asks for, as a share of its full one."""


MANNERS: Final[Mapping[str, Manner]] = {
    # From three average apps on the originals do not fit a lane; most draws do not hold all of them in memory either.
    MAX_ACCURACY: Manner((0.15, 0.45), (0.25, 0.75), (0.5, 1.2)),
    # Were there no floors, no network would have to be any good; and budgets are not what it is about.
    MIN_LATENCY: Manner((0.03, 0.1), (1.0, 2.0), (0.7, 1.2), (0.95, 0.99)),
}
"""By objective."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Networks to draw from, each as the options of an app that asks for nothing."""

    networks: tuple[AppOptions, ...]

    @property
    def original_ms(self) -> float:
        """Median of the average original."""
        return statistics.fmean(sum(block[0].latency_ms for block in network.blocks) for network in self.networks)

    @property
    def original_bytes(self) -> int:
        """Memory of all originals with the activations of the largest."""
        originals = [block[0] for network in self.networks for block in network.blocks]
        return sum(o.memory_bytes for o in originals) + max(o.arena_bytes for o in originals)


def pool_of(folders: Sequence[Path], scratch: Path, *, quick: bool) -> Pool:
    """The networks of these stores and of the demo's, measured on this machine."""
    networks: list[AppOptions] = []
    for number, folder in enumerate((demo_store(scratch), *folders)):
        table, _ = profiled(folder, scratch / f"profile-{number}", *(["--quick"] if quick else []))
        with Store.open(folder) as store:
            catalogue = Catalogue({name: store.model(name) for name in store.models()}, table, OnnxEngine.name)
        networks += [_network(catalogue, model) for model in catalogue.models.values()]
    return Pool(tuple(networks))


def _network(catalogue: Catalogue, model: Model) -> AppOptions:
    """What there is to choose from, without exits."""
    return replace(catalogue.options(App(model.name, model.name, 1.0, 1.0)), policies=())


def draw(pool: Pool, seed: int, apps: tuple[int, int], objective: str = MAX_ACCURACY) -> Problem:
    """Some apps that run together on one lane, within `apps`, the least and the most of them."""
    rng = random.Random(seed)  # noqa: S311 - draws test data, not secrets
    manner = MANNERS[objective]
    memory_bytes = int(pool.original_bytes * rng.uniform(*manner.memory_shares))
    count = rng.randint(*apps)
    drawn = tuple(_app(rng, manner, pool, f"app{number}") for number in range(count))
    return Problem(drawn, Limits(memory_bytes), objective=objective)


def _app(rng: random.Random, manner: Manner, pool: Pool, app_id: str) -> AppOptions:
    network = rng.choice(pool.networks)
    rate_hz = 1e3 * rng.uniform(*manner.lane_shares) / pool.original_ms
    budget_ms = rng.uniform(*manner.budget_periods) * 1e3 / rate_hz
    floor = network.full_accuracy * rng.uniform(*manner.floors)
    return replace(network, app=App(app_id, network.app.model, budget_ms, rate_hz, accuracy_floor=floor))
