"""Small models for tests of the store: real manifests whose artifacts are a few bytes each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from blockstore.block import ORIGINAL, Artifact, Block, Exit, Model, TensorSpec, Variant
from blockstore.exits import ANY_UPSTREAM, FINAL, Curve, CurvePoint, CurveSet, ExitPolicy, Forecast, OfferedPolicy
from blockstore.store import Store

IMAGE = TensorSpec("uint8", (8, 8, 1))
INSIDE = TensorSpec("float32", (4, 8, 8))
LOGITS = TensorSpec("float32", (10,))
VARIANTS = (ORIGINAL, "pruned50")


def put_sample(
    store: Store,
    name: str = "digits",
    weights: bytes = b"w",
    engines: tuple[str, ...] = ("onnxruntime",),
    provenance: Mapping[str, str] | None = None,
) -> Model:
    """Put a model of two blocks and two variants each, and its blobs; `weights` tells one build from another."""
    model = sample(store.put_blob, name, weights, engines, provenance)
    store.put_model(model)
    return model


def sample(
    put_blob: Callable[[bytes], str],
    name: str = "digits",
    weights: bytes = b"w",
    engines: tuple[str, ...] = ("onnxruntime",),
    provenance: Mapping[str, str] | None = None,
) -> Model:
    """The model alone; `put_blob` gets the bytes of every artifact and returns their digest."""

    def variant(block: int, kind: str) -> Variant:
        contents = [(e, f"{e} block {block} {kind} ".encode() + weights) for e in engines]
        artifacts = tuple(Artifact(e, put_blob(data), len(data)) for e, data in contents)
        return Variant(kind, kind, artifacts, 0.0 if kind == ORIGINAL else 0.01, 100, 1000)

    return Model(
        name=name,
        input=IMAGE,
        output=LOGITS,
        accuracy=0.9,
        evaluated_images=100,
        blocks=(
            Block(0, "stem", IMAGE, INSIDE, tuple(variant(0, kind) for kind in VARIANTS)),
            Block(1, "head", INSIDE, LOGITS, tuple(variant(1, kind) for kind in VARIANTS)),
        ),
        provenance=provenance or {"built_at": "2026-01-01T00:00:00+00:00"},
    )


def put_sample_with_exits(store: Store, name: str = "exiting", torch_too: tuple[str, ...] = ("exit1",)) -> Model:
    """A model of three blocks with two exits and a policy for each; those of `torch_too` have heads for torch as well.

    All blocks have both engines.
    """
    model = sample(store.put_blob, name, engines=("onnxruntime", "torch"))
    stem, head = model.blocks
    middle = replace(stem, index=1, name="middle", input=INSIDE)
    model = replace(model, blocks=(stem, middle, replace(head, index=2)))
    exits = []
    for block, name_ in enumerate(("exit1", "exit2")):
        contents = [(e, f"{e} {name_}".encode()) for e in ("onnxruntime", *(["torch"] if name_ in torch_too else []))]
        artifacts = tuple(Artifact(e, store.put_blob(data), len(data)) for e, data in contents)
        curve = Curve(ANY_UPSTREAM, (CurvePoint(0.0, 1.0, 0.6, 1.0), CurvePoint(0.5, 0.5, 0.9, 0.8)))
        inputs = tuple(range(block + 1))
        exits.append(
            Exit(name_, block, inputs, "mxn", "max_probability", 1.25, artifacts, 500, 9000, CurveSet((curve,)))
        )
    policies = tuple(
        OfferedPolicy(ExitPolicy(f"only-{e.name}", ((e.name, 0.5), (FINAL, 0.0))), Forecast((0.75, 0.25), 0.01))
        for e in exits
    )
    model = replace(model, exits=tuple(exits), policies=policies)
    store.put_model(model)
    return model


def blob_file(store: Store, digest: str) -> Path:
    """Where a blob lies, for tests that damage it."""
    return store.root / "blobs" / "sha256" / digest[:2] / digest


def overwrite(path: Path, data: bytes) -> None:
    """Change the bytes of a blob behind the store's back, as a failing card does."""
    path.chmod(0o644)
    path.write_bytes(data)


def flip_byte(path: Path) -> None:
    """Damage one byte of a file, its size unchanged."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    overwrite(path, bytes(data))


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A temporary folder in memory where the system has one: what is tested is the order of writes, not the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder of our own is made in it
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its bytes."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
