"""What there is to choose from: the store's models with their profile, as the options of a problem.

Here, and nowhere else, the profile's times become what they are expected to be now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from blockprofiles.record import FOREIGN, Row
from blockprofiles.table import Table
from blockstore.accuracy_model import AccuracyModel
from blockstore.block import Artifact, Block, Model, Variant
from schedulerd.control.factors import Factors
from schedulerd.control.pins import by_block
from schedulerd.control.policies import Observed, policy_options
from schedulerd.errors import EngineFault, Refused, StoreFault
from schedulerd.optimizer.problem import AppOptions, Option
from schedulerd.plan import App


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Models and measured costs for the engines in use."""

    models: Mapping[str, Model]
    table: Table
    engine: str
    """The main one, which runs the heads of exits too."""
    broken: frozenset[str] = frozenset()
    """Blobs that could not be loaded."""
    banned: frozenset[str] = frozenset()
    """Blobs that failed as they ran, and are left out for a while."""
    also: frozenset[str] = frozenset()
    """Engines that can run single blocks beside the main one."""

    def options(
        self,
        app: App,
        observed: Observed | None = None,
        factors: Factors = Factors(),  # noqa: B008 - frozen, so sharing the default is safe
    ) -> AppOptions:
        """What `app` may run, and what that is expected to take now.

        Args: app; observed: what its frames have done at exits so far; factors: of the present board.

        Raises:
            StoreFault: no variant of some block is usable, or no head of an exit that the app's own policy enables.
            EngineFault: of some block those that are usable have all failed as they ran.
        """
        model = self.models[app.model]
        forms = [self._forms(model, block) for block in model.blocks]
        return AppOptions(
            app=app,
            full_accuracy=model.accuracy,
            blocks=tuple(
                tuple(_option(block.variants[place], row, block.index, app, factors) for place, row in of_block)
                for block, of_block in zip(model.blocks, forms, strict=True)
            ),
            policies=policy_options(model, self._heads_now(model, factors), app, observed),
            accuracy=_accuracy_of(model, [[place for place, _ in of_block] for of_block in forms]),
            pins=by_block(app.pins, model),
            pinned_exits=app.pins.exits,
        )

    def heads(self, model: Model) -> dict[str, Row]:
        """The exits of a model that this engine can run and that have been measured, with the rows of their heads."""
        artifacts = ((exit_.name, exit_.artifact(self.engine)) for exit_ in model.exits)
        return {name: row for name, artifact in artifacts for row in self._rows(artifact)}

    def size_bytes(self, digest: str) -> int:
        """Resident bytes of one blob."""
        return self.table.row(digest).memory_bytes

    def arena_bytes(self, digest: str) -> int:
        """What the activations of one blob take while it runs."""
        return self.table.row(digest).arena_bytes

    def measured(self, block: Block) -> tuple[tuple[Variant, Row], ...]:
        """The variants of a block that can be run here and of which something is known, with their quickest rows."""
        found = ((variant, self._rows_of(variant)) for variant in block.variants)
        return tuple((variant, min(rows, key=lambda row: row.latency_ms)) for variant, rows in found if rows)

    def place_of(self, digest: str) -> str:
        """What a blob is, in words."""
        for model in self.models.values():
            for block in model.blocks:
                for variant in block.variants:
                    if digest in _digests(variant):
                        return f"block {block.index} ({block.name}) of {model.name}, variant {variant.name}"
            for exit_ in model.exits:
                if any(artifact.digest == digest for artifact in exit_.artifacts):
                    return f"exit {exit_.name} of {model.name}"
        return f"blob {digest[:12]}"

    def needed(self, digest: str, apps: Iterable[App]) -> bool:
        """Whether a blob is hard to replace.

        It is the original of some block, or nothing else can be run of one at present, or it is the head of an exit
        that one of `apps` insists on.
        """
        blocks = (block for model in self.models.values() for block in model.blocks)
        heads = (
            artifact.digest
            for app in apps
            for exit_ in self.models[app.model].exits
            if app.exits is not None and exit_.name in dict(app.exits.steps)
            for artifact in exit_.artifacts
        )
        return digest in heads or any(self._needed_for(block, digest) for block in blocks)

    def _needed_for(self, block: Block, digest: str) -> bool:
        usable = {row.digest for variant in block.variants for row in self._rows_of(variant)}
        return digest in _digests(block.variants[0]) or usable == {digest}

    def _rows_of(self, variant: Variant) -> list[Row]:
        """What each form of a variant costs, without those that were timed elsewhere where others were timed here."""
        forms = (variant.artifact(engine) for engine in (self.engine, *sorted(self.also)))
        rows = [row for artifact in forms for row in self._rows(artifact)]
        return [row for row in rows if row.source != FOREIGN] or rows

    def _rows(self, artifact: Artifact | None) -> Iterator[Row]:
        """What a form costs; nothing where it cannot be used."""
        if artifact is not None and self._usable(artifact.digest):
            yield self.table.row(artifact.digest)

    def _usable(self, digest: str) -> bool:
        return digest in self.table and digest not in self.broken and digest not in self.banned

    def _heads_now(self, model: Model, factors: Factors) -> dict[str, Row]:
        """`heads` with the times that they are expected to take now."""
        now = ((name, row, factors.head_ms(row)) for name, row in self.heads(model).items())
        return {name: replace(row, latency_ms=ms, latency_p95_ms=p95_ms) for name, row, (ms, p95_ms) in now}

    def _forms(self, model: Model, block: Block) -> list[tuple[int, Row]]:
        """What can be run of a block: the place of each variant, once for each of its blobs, with the blob's row."""
        found = [
            (place, row)
            for place, variant in enumerate(block.variants)
            for row in {row.digest: row for row in self._rows_of(variant)}.values()
        ]
        if not found:
            raise self._nothing_of(model, block)
        return found

    def _nothing_of(self, model: Model, block: Block) -> Refused:
        """Why nothing of a block can be run."""
        name = f"block {block.index} ({block.name}) of {model.name!r}"
        if any(not self.banned.isdisjoint(_digests(variant)) for variant in block.variants):
            return EngineFault(
                f"every variant of {name} has failed as it ran; they are tried again from time to time, as the events "
                f"`fault` say. See the daemon's log, or build the model again"
            )
        return StoreFault(
            f"{name} has no usable variant for {self.engine}; run `schedulerd store verify`, then import or build the "
            f"model again"
        )


def _accuracy_of(model: Model, kept: Sequence[Sequence[int]]) -> AccuracyModel | None:
    """The model's accuracy model with one damage for each option; `kept`: for each block, the places of variants."""
    known = model.accuracy_model
    # What it was fitted to is not needed to predict, and takes more room than all else.
    return None if known is None else replace(known, evidence=()).keeping(kept)


def _digests(variant: Variant) -> set[str]:
    return {artifact.digest for artifact in variant.artifacts}


def _option(variant: Variant, row: Row, block: int, app: App, factors: Factors) -> Option:
    """A variant in the form that a row is of. No other frame comes between preparing one and its first block."""
    prepare_ms = 0.0 if block else app.prepare_ms
    latency_ms, p95_ms = factors.block_ms(app.app_id, block, row)
    return Option(
        variant=variant.name,
        digest=row.digest,
        latency_ms=prepare_ms + latency_ms,
        latency_p95_ms=prepare_ms + p95_ms,
        memory_bytes=row.memory_bytes,
        arena_bytes=row.arena_bytes,
        accuracy_drop=variant.accuracy_drop,
        energy_mj=row.energy_mj,
        engine=row.engine,
    )
