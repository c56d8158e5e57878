"""What there is to choose from: the store's models with their profile, as the options of a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blockprofiles.compose import compose
from blockprofiles.record import Row
from blockprofiles.table import Table
from blockstore.block import Block, Model, Variant
from schedulerd.control.problem import AppOptions, Option
from schedulerd.errors import StoreFault
from schedulerd.plan import App, Route


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Models and measured costs for the engine in use. `broken` are blobs that could not be loaded."""

    models: Mapping[str, Model]
    table: Table
    engine: str
    broken: frozenset[str] = frozenset()

    def options(self, app: App) -> AppOptions:
        """What `app` may run. `StoreFault` names a block of which no variant is usable."""
        model = self.models[app.model]
        return AppOptions(app, model.accuracy, tuple(self._of_block(model, block) for block in model.blocks))

    def expected_p95_ms(self, route: Route) -> float:
        """The profile's sum of 95th percentiles over the blocks of a route, on a quiet board."""
        return compose([self.table.row(digest) for digest in route.digests]).latency_p95_ms

    def size_bytes(self, digest: str) -> int:
        """Resident bytes of one blob."""
        return self.table.row(digest).memory_bytes

    def measured(self, block: Block) -> tuple[tuple[Variant, Row], ...]:
        """The variants of a block that this engine can run and that have been measured, with their rows."""
        found = []
        for variant in block.variants:
            artifact = variant.artifact(self.engine)
            if artifact is not None and artifact.digest not in self.broken and artifact.digest in self.table:
                found.append((variant, self.table.row(artifact.digest)))
        return tuple(found)

    def _of_block(self, model: Model, block: Block) -> tuple[Option, ...]:
        found = tuple(
            Option(
                variant=variant.name,
                digest=row.digest,
                latency_ms=row.latency_ms,
                latency_p95_ms=row.latency_p95_ms,
                memory_bytes=row.memory_bytes,
                accuracy_drop=variant.accuracy_drop,
            )
            for variant, row in self.measured(block)
        )
        if not found:
            raise StoreFault(
                f"block {block.index} ({block.name}) of {model.name!r} has no usable variant for {self.engine}; run "
                f"`schedulerd store verify`, then import or build the model again"
            )
        return found
