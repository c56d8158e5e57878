"""Looking after a store: is every blob what its name says, and which files does no model need any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from blockstore.blobs import BlobFile, Blobs
from blockstore.block import Model
from blockstore.errors import MissingBlob
from blockstore.index import Entry

DEFAULT_GRACE_S = 3600.0
"""A blob younger than this is spared: a builder may be about to put the model that uses it."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What one model lost with one blob."""

    model: str
    digest: str
    part: str
    """Where the model uses the blob: `manifest`, `block 2 (stage2) variant pruned50 for onnxruntime`, or `exit exit1
    after block 2 for onnxruntime`."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. Digests are in order."""

    checked_blobs: int
    checked_bytes: int
    missing: tuple[str, ...]
    """Blobs that a model needs and that are not on disk."""
    corrupt: tuple[str, ...]
    """Blobs whose bytes did not have their hash.

    They are in quarantine now, unless the store is read-only.
    """
    damages: tuple[Damage, ...]
    """What this means for the models; a damaged blob that no model needs appears only above."""

    @property
    def sound(self) -> bool:
        """Nothing is missing and nothing is corrupt."""
        return not self.missing and not self.corrupt


@dataclass(frozen=True, slots=True)
class Collected:
    """What garbage collection removed, and what it left for now."""

    removed_blobs: int
    removed_bytes: int
    removed_partials: int
    """Files that a crash left half-written."""
    spared_blobs: int
    """Blobs that no model needs but that are still young."""


def verify(blobs: Blobs, entries: Iterable[Entry], read_model: Callable[[Entry], Model | None]) -> Verification:
    """Read every blob and hash it. Changes nothing.

    `read_model` gives None where the manifest cannot be read.
    """
    entries = tuple(entries)
    checked, corrupt = _hash_all(blobs)
    present = {file.digest for file in checked}
    missing = sorted(
        d for d in set[str]().union(*(e.digests() for e in entries)) - present if blobs.size_bytes(d) is None
    )
    lost = frozenset((*missing, *corrupt))
    return Verification(
        checked_blobs=len(checked),
        checked_bytes=sum(file.size_bytes for file in checked),
        missing=tuple(missing),
        corrupt=tuple(corrupt),
        damages=tuple(damage for entry in entries for damage in _damages(entry, lost, read_model)),
    )


def collect(blobs: Blobs, needed: Collection[str], older_than_s: float) -> Collected:
    """Unlink what crashes left, and unneeded blobs that were last touched before `older_than_s` (epoch).

    Hold the store's lock: then no file in the scratch folder can still be in use.
    """
    unneeded = [file for file in blobs.walk() if file.digest not in needed]
    old = [file for file in unneeded if file.changed_s < older_than_s]
    for file in old:
        blobs.unlink(file.digest)
    partials = blobs.partials()
    for path in partials:
        path.unlink(missing_ok=True)
    return Collected(len(old), sum(f.size_bytes for f in old), len(partials), len(unneeded) - len(old))


def _hash_all(blobs: Blobs) -> tuple[list[BlobFile], list[str]]:
    checked: list[BlobFile] = []
    corrupt: list[str] = []
    for file in blobs.walk():
        try:
            sound = blobs.matches(file.digest)
        except MissingBlob:  # collected by another process since the folder was listed
            continue
        checked.append(file)
        if not sound:
            corrupt.append(file.digest)
    return checked, corrupt


def _damages(entry: Entry, lost: frozenset[str], read_model: Callable[[Entry], Model | None]) -> Iterator[Damage]:
    hit = sorted(entry.digests() & lost)
    if not hit:
        return
    model = None if entry.manifest in lost else read_model(entry)
    parts = {} if model is None else parts_of(model)
    for digest in hit:
        where = "manifest" if digest == entry.manifest else "unknown part (the manifest is lost too)"
        yield from (Damage(entry.name, digest, part) for part in parts.get(digest, (where,)))


def parts_of(model: Model) -> dict[str, list[str]]:
    """Where in the model each blob is used."""
    parts: dict[str, list[str]] = defaultdict(list)
    for block in model.blocks:
        for variant in block.variants:
            for artifact in variant.artifacts:
                parts[artifact.digest].append(
                    f"block {block.index} ({block.name}) variant {variant.name} for {artifact.engine}"
                )
    for exit_ in model.exits:
        for artifact in exit_.artifacts:
            parts[artifact.digest].append(f"exit {exit_.name} after block {exit_.block} for {artifact.engine}")
    return parts
