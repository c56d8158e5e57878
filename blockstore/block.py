"""The words of the store as frozen values: model, block, variant, exit, artifact.

A *model* is a chain of *blocks*; each block has one tensor in and one tensor out and a set of interchangeable
*variants*. A variant owns one *artifact* for each engine that can run it: an immutable blob named by its SHA-256.
`Model.to_json` is canonical (sorted keys, no spaces), so that equal models are equal blobs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from blockstore.accuracy_model import AccuracyModel
from blockstore.errors import BadManifest
from blockstore.exits import (
    FINAL,
    MAX_EXITS,
    MEASURES,
    CurveSet,
    OfferedPolicy,
    curves_from,
    offered_from,
)

MANIFEST_FORMAT = "schedulerd-model/1"
MAX_OUTPUTS = 32
"""Outputs of one network: a reply to a client carries no more tensors."""
ORIGINAL = "original"
"""Name and kind of the variant that is the block as it was trained."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Dtype and shape of one tensor, without its batch dimension: `("uint8", (32, 32, 3))` is `[batch, 32, 32, 3]`."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{'x'.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One executable form of a variant: an ONNX file or a safetensors file with its graph (see `torchform`)."""

    engine: str
    """`onnxruntime` or `torch`."""
    digest: str
    """SHA-256 of the blob, 64 lower-case hexadecimal digits."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Variant:
    """One implementation of a block, with the input and output shape of the original.

    `accuracy_drop` is what the model's accuracy loses when this variant stands in, as an absolute fraction (0.01 is
    one point), averaged over contexts of the other blocks (LegoDNN, section 4.2); it may be slightly negative.
    """

    name: str
    kind: str
    artifacts: tuple[Artifact, ...]
    accuracy_drop: float
    parameters: int
    multiply_adds: int
    settings: Mapping[str, float | int | str] = field(default_factory=dict)

    def artifact(self, engine: str) -> Artifact | None:
        """The form that `engine` executes, or None where the variant has none."""
        return next((a for a in self.artifacts if a.engine == engine), None)


@dataclass(frozen=True, slots=True)
class Block:
    """A run of consecutive operators with one tensor in and one tensor out; `variants[0]` is the original."""

    index: int
    name: str
    input: TensorSpec
    output: TensorSpec
    variants: tuple[Variant, ...]

    def variant(self, name: str) -> Variant:
        """The variant called `name`; KeyError names the ones there are."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(v.name for v in self.variants)
        raise KeyError(f"block {self.index} ({self.name}) has no variant {name!r}; it has {known}")


@dataclass(frozen=True, slots=True)
class Exit:
    """A head on the output of a block: it gives what the network gives, and how sure it is of that.

    Its artifacts take the outputs of the blocks `inputs`, each `[batch, ...]`, and give `[batch, *model.output]` and
    the confidence, float32 `[batch]`, 0 to 1.
    """

    name: str
    block: int
    """A frame can leave after this block."""
    inputs: tuple[int, ...]
    """Blocks whose outputs the head takes, in the order of its inputs: its own, or that of the exit before it (whose
    features it aggregates) and its own."""
    method: str
    """How the head was made: `branchynet`, `flexdnn`, `mxn`."""
    measure: str
    """Of confidence, one of `exits.MEASURES`."""
    temperature: float
    """By which logits are divided before a confidence is made of them; 1 where nothing was calibrated."""
    artifacts: tuple[Artifact, ...]
    parameters: int
    multiply_adds: int
    curves: CurveSet
    settings: Mapping[str, float | int | str] = field(default_factory=dict)

    def artifact(self, engine: str) -> Artifact | None:
        """The form that `engine` executes, or None where the head has none."""
        return next((a for a in self.artifacts if a.engine == engine), None)


@dataclass(frozen=True, slots=True)
class Model:
    """A user's trained network as a chain of blocks. `accuracy` is that of the all-original route, 0 to 1."""

    name: str
    input: TensorSpec
    output: TensorSpec
    accuracy: float
    evaluated_images: int
    """How many held-out images `accuracy` and every `accuracy_drop` were measured on."""
    blocks: tuple[Block, ...]
    labels: tuple[str, ...] = ()
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)
    """Who built it and how: versions, seed, settings, time of the build."""
    outputs: tuple[TensorSpec, ...] = ()
    """Of a network with several outputs: what the last block's one tensor, `[batch, total]`, holds side by side (see
    `blockstore.outputs`). Empty where there is one output, which is `output`."""
    accuracy_model: AccuracyModel | None = None
    """Predicts the accuracy of any route, with the evidence for it; None in manifests from before there was one."""
    exits: tuple[Exit, ...] = ()
    """By rising depth; at most one for each block but the last."""
    policies: tuple[OfferedPolicy, ...] = ()
    """What the optimizer may choose from besides running every frame to the end."""

    def artifacts(self) -> tuple[Artifact, ...]:
        """Every blob that this model refers to (not its own manifest): of all variants, then of all exits."""
        of_variants = [a for b in self.blocks for v in b.variants for a in v.artifacts]
        return (*of_variants, *(a for e in self.exits for a in e.artifacts))

    def digests(self) -> frozenset[str]:
        """Digests of `artifacts`."""
        return frozenset(a.digest for a in self.artifacts())

    def depths(self) -> dict[str, int]:
        """Name of each exit -> the block after which a frame leaves there."""
        return {e.name: e.block for e in self.exits}

    def to_json(self) -> bytes:
        """Canonical manifest: UTF-8 JSON whose first key is `format`-checked by `from_json`."""
        document = {"format": MANIFEST_FORMAT, **asdict(self)}
        # Manifests from before there were these have no such keys, and keep their bytes and their name.
        for name in ("outputs", "accuracy_model", "exits", "policies"):
            if not document[name]:
                del document[name]
        for document_of_exit in document.get("exits", ()):
            document_of_exit["curves"] = document_of_exit["curves"]["curves"]
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @staticmethod
    def from_json(data: bytes) -> Model:
        """Parse and check a manifest; raises `BadManifest` with the reason."""
        try:
            document = json.loads(data)
            if document.get("format") != MANIFEST_FORMAT:
                raise BadManifest(f"format is {document.get('format')!r}, this version reads {MANIFEST_FORMAT!r}")
            model = _model(document)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise BadManifest(f"not a model manifest: {type(error).__name__}: {error}") from error
        _check(model)
        return model


def _tensor(d: dict[str, Any]) -> TensorSpec:
    return TensorSpec(str(d["dtype"]), tuple(int(n) for n in d["shape"]))


def _variant(d: dict[str, Any]) -> Variant:
    return Variant(
        name=str(d["name"]),
        kind=str(d["kind"]),
        artifacts=tuple(_artifact(a) for a in d["artifacts"]),
        accuracy_drop=float(d["accuracy_drop"]),
        parameters=int(d["parameters"]),
        multiply_adds=int(d["multiply_adds"]),
        settings=dict(d["settings"]),
    )


def _model(d: dict[str, Any]) -> Model:
    return Model(
        name=str(d["name"]),
        input=_tensor(d["input"]),
        output=_tensor(d["output"]),
        accuracy=float(d["accuracy"]),
        evaluated_images=int(d["evaluated_images"]),
        blocks=tuple(
            Block(
                index=int(b["index"]),
                name=str(b["name"]),
                input=_tensor(b["input"]),
                output=_tensor(b["output"]),
                variants=tuple(_variant(v) for v in b["variants"]),
            )
            for b in d["blocks"]
        ),
        labels=tuple(str(s) for s in d["labels"]),
        provenance=dict(d["provenance"]),
        # Manifests from before there were networks with several outputs lack the key.
        outputs=tuple(_tensor(o) for o in d.get("outputs", ())),
        accuracy_model=None if d.get("accuracy_model") is None else AccuracyModel.from_document(d["accuracy_model"]),
        exits=(exits := tuple(_exit(e) for e in d.get("exits", ()))),
        policies=offered_from(d.get("policies", ()), {e.name: e.block for e in exits}),
    )


def _exit(d: dict[str, Any]) -> Exit:
    return Exit(
        name=str(d["name"]),
        block=int(d["block"]),
        inputs=tuple(int(i) for i in d["inputs"]),
        method=str(d["method"]),
        measure=str(d["measure"]),
        temperature=float(d["temperature"]),
        artifacts=tuple(_artifact(a) for a in d["artifacts"]),
        parameters=int(d["parameters"]),
        multiply_adds=int(d["multiply_adds"]),
        curves=curves_from(d["curves"]),
        settings=dict(d["settings"]),
    )


def _artifact(d: dict[str, Any]) -> Artifact:
    return Artifact(str(d["engine"]), str(d["digest"]), int(d["size_bytes"]))


def _check(model: Model) -> None:
    """A chain must join: each block takes what the one before it gives, and begins with its original variant."""
    if not model.blocks:
        raise BadManifest(f"model {model.name!r} has no blocks")
    expected = model.input
    for position, block in enumerate(model.blocks):
        if block.index != position:
            raise BadManifest(f"block {block.name!r} has index {block.index} at position {position}")
        if block.input != expected:
            raise BadManifest(f"block {block.name!r} takes {block.input}, the one before gives {expected}")
        if not block.variants or block.variants[0].kind != ORIGINAL:
            raise BadManifest(f"block {block.name!r} does not begin with its {ORIGINAL} variant")
        if len({v.name for v in block.variants}) != len(block.variants):
            raise BadManifest(f"block {block.name!r} has two variants of one name")
        expected = block.output
    if expected != model.output:
        raise BadManifest(f"the last block gives {expected}, the model's output is {model.output}")
    if model.outputs:
        _check_outputs(model)
    _check_exits(model)
    known = model.accuracy_model
    if known and [len(row) for row in known.damages] != [len(block.variants) for block in model.blocks]:
        raise BadManifest(f"the accuracy model of {model.name!r} is of other blocks or variants")


def _check_outputs(model: Model) -> None:
    """Several outputs fill the last block's one tensor exactly."""
    if len(model.outputs) > MAX_OUTPUTS:
        raise BadManifest(f"model {model.name!r} has {len(model.outputs)} outputs; the limit is {MAX_OUTPUTS}")
    total = sum(math.prod(spec.shape) for spec in model.outputs)
    if model.output.shape != (total,) or any(spec.dtype != model.output.dtype for spec in model.outputs):
        listed = ", ".join(map(str, model.outputs))
        raise BadManifest(f"model {model.name!r} has outputs {listed}, its last block gives {model.output}")


def _check_exits(model: Model) -> None:
    """Exits stand after blocks that there are, by rising depth, and take outputs that there are by then."""
    if len(model.exits) > MAX_EXITS:
        raise BadManifest(f"model {model.name!r} has {len(model.exits)} exits; the limit is {MAX_EXITS}")
    if len({e.name for e in model.exits} | {FINAL}) != len(model.exits) + 1:
        raise BadManifest(f"model {model.name!r} has two exits of one name, or one called {FINAL!r}")
    depths = [e.block for e in model.exits]
    if depths != sorted(set(depths)) or not all(0 <= depth < len(model.blocks) - 1 for depth in depths):
        raise BadManifest(
            f"model {model.name!r} has exits after blocks {depths}: rising, and none after the last block"
        )
    for e in model.exits:
        if not e.inputs or e.inputs[-1] != e.block or sorted(set(e.inputs)) != list(e.inputs) or e.inputs[0] < 0:
            raise BadManifest(f"exit {e.name!r} takes the outputs of blocks {e.inputs}: rising, its own {e.block} last")
        if e.measure not in MEASURES:
            raise BadManifest(f"exit {e.name!r} measures {e.measure!r}, this version knows {', '.join(MEASURES)}")
        if not (math.isfinite(e.temperature) and e.temperature > 0):
            raise BadManifest(f"exit {e.name!r} has temperature {e.temperature}: a number above 0")
    if model.policies and not model.exits:
        raise BadManifest(f"model {model.name!r} has policies and no exits")
