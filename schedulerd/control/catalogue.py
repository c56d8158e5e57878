"""What there is to choose from: the store's models with their profile, as the options of a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blockprofiles.record import Row
from blockprofiles.table import Table
from blockstore.block import Block, Exit, Model, Variant
from schedulerd.control.policies import Observed, policy_options
from schedulerd.control.problem import AppOptions, Option
from schedulerd.errors import StoreFault
from schedulerd.plan import App


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Models and measured costs for the engine in use. `broken` are blobs that could not be loaded."""

    models: Mapping[str, Model]
    table: Table
    engine: str
    broken: frozenset[str] = frozenset()

    def options(self, app: App, observed: Observed | None = None) -> AppOptions:
        """What `app` may run, `observed` being what its frames have done at exits so far.

        Raises:
            StoreFault: no variant of some block is usable, or no head of an exit that the app's own policy enables.
        """
        model = self.models[app.model]
        return AppOptions(
            app=app,
            full_accuracy=model.accuracy,
            blocks=tuple(self._of_block(model, block) for block in model.blocks),
            policies=policy_options(model, self.heads(model), app, observed),
        )

    def heads(self, model: Model) -> dict[str, Row]:
        """The exits of a model that this engine can run and that have been measured, with the rows of their heads."""
        rows = ((exit_.name, self._row(exit_)) for exit_ in model.exits)
        return {name: row for name, row in rows if row is not None}

    def size_bytes(self, digest: str) -> int:
        """Resident bytes of one blob."""
        return self.table.row(digest).memory_bytes

    def measured(self, block: Block) -> tuple[tuple[Variant, Row], ...]:
        """The variants of a block that this engine can run and that have been measured, with their rows."""
        rows = ((variant, self._row(variant)) for variant in block.variants)
        return tuple((variant, row) for variant, row in rows if row is not None)

    def _row(self, made: Variant | Exit) -> Row | None:
        """What the form for this engine costs; None where there is none that can be used."""
        artifact = made.artifact(self.engine)
        if artifact is None or artifact.digest in self.broken or artifact.digest not in self.table:
            return None
        return self.table.row(artifact.digest)

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
