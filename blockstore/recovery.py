"""What a store's blobs say by themselves: the models whose manifests lie among them. Reads only.

The index is made from this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from blockstore.blobs import BlobFile, Blobs, digest_of
from blockstore.block import MANIFEST_FORMAT, Model
from blockstore.errors import BadManifest
from blockstore.index import Entry


@dataclass(frozen=True, slots=True)
class Recovered:
    """Models found among the blobs, and the manifests that could not be used."""

    entries: tuple[Entry, ...]
    blobs: int
    """How many blobs were looked at."""
    corrupt: tuple[str, ...]
    """Manifests whose bytes do not have their hash."""
    superseded: tuple[str, ...]
    """Older manifests of models that are here in a newer form."""


@dataclass(frozen=True, slots=True)
class _Manifest:
    digest: str
    size_bytes: int
    model: Model
    built_s: float


def recover(blobs: Blobs) -> Recovered:
    """Find every manifest among the blobs; of several of one name, the one that was built last."""
    files = tuple(blobs.walk())
    corrupt: list[str] = []
    newest: list[_Manifest] = []
    superseded: list[str] = []
    manifests = sorted(_manifests(files, corrupt), key=lambda m: (m.model.name, m.built_s, m.digest))
    for _, same_name in groupby(manifests, key=lambda m: m.model.name):
        *older, last = same_name
        newest.append(last)
        superseded.extend(m.digest for m in older)
    entries = tuple(entry_of(m.model, m.digest, m.size_bytes) for m in newest)
    return Recovered(entries, len(files), tuple(corrupt), tuple(superseded))


def entry_of(model: Model, manifest: str, manifest_bytes: int) -> Entry:
    """The index entry of a model whose manifest has this digest and size."""
    sizes = {a.digest: a.size_bytes for a in model.artifacts()}
    sizes[manifest] = manifest_bytes
    return Entry(model.name, manifest, tuple(sorted(sizes.items())))


def _manifests(files: Iterable[BlobFile], corrupt: list[str]) -> Iterator[_Manifest]:
    for file in files:
        data = _json_bytes(file)
        if MANIFEST_FORMAT.encode() not in data:
            continue
        if digest_of(data) != file.digest:
            corrupt.append(file.digest)
            continue
        try:
            model = Model.from_json(data)
        except BadManifest:
            continue
        yield _Manifest(file.digest, len(data), model, _built_s(model, file.changed_s))


def _json_bytes(file: BlobFile) -> bytes:
    """The file where it begins like a JSON object, else nothing: weights are told by their first byte."""
    try:
        with file.path.open("rb") as opened:
            return b"{" + opened.read() if opened.read(1) == b"{" else b""
    except FileNotFoundError:
        return b""


def _built_s(model: Model, changed_s: float) -> float:
    """When the model was built, seconds since the epoch.

    The file's time where the manifest does not say (ISO 8601).
    """
    try:
        built = datetime.fromisoformat(str(model.provenance.get("built_at")))
    except ValueError:
        return changed_s
    return (built if built.tzinfo else built.replace(tzinfo=UTC)).timestamp()
