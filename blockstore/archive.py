"""One portable file for models and their blobs: a plain tar whose bytes depend on its content alone.

Members are `archive.json`, then `blobs/sha256/ab/abcdef...` in order of digest, with zero times and owners:
equal content gives equal archives. Reading trusts nothing: a member must be a regular file that the header
names, with the size that it gives, and every blob must have its hash. Nothing is ever extracted by name, so
no name can lead out of the store.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from blockstore.blobs import CHUNK_BYTES, digest_of, is_digest
from blockstore.block import ORIGINAL, Block, Exit, Model
from blockstore.durable import durable_file
from blockstore.errors import BadArchive, BadManifest, BlockStoreError, MissingVariant
from blockstore.exits import FINAL

ARCHIVE_FORMAT = "schedulerd-archive/1"
_HEADER = "archive.json"
_JSON_LIMIT_BYTES = 16 << 20
_REMEDY = "export it again from the store that it came from"

_Members = Mapping[str, tarfile.TarInfo]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import changed."""

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    unchanged: tuple[str, ...]
    """Models that were here already, byte for byte."""
    new_blobs: int
    new_bytes: int


def write_archive(path: Path, models: Sequence[Model], blobs: Mapping[str, Path]) -> None:
    """Write models and their blobs to `path`, in place of what is there, which an error leaves as it was."""
    manifests = {digest_of(data): data for data in (model.to_json() for model in models)}
    sizes = {digest: file.stat().st_size for digest, file in blobs.items()}
    sizes |= {digest: len(data) for digest, data in manifests.items()}
    header = json.dumps(
        {"format": ARCHIVE_FORMAT, "models": sorted(manifests), "blobs": sizes}, sort_keys=True
    ).encode()
    try:
        with durable_file(path, path.parent, mode=0o644) as file, tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(_member(_HEADER, len(header)), BytesIO(header))
            for digest in sorted(sizes):
                with BytesIO(manifests[digest]) if digest in manifests else blobs[digest].open("rb") as source:
                    tar.addfile(_member(_name(digest), sizes[digest]), source)
    except OSError as error:
        raise BlockStoreError(f"cannot write the archive {path}: {error}") from error


def for_engines(model: Model, engines: Sequence[str]) -> Model:
    """The model with the artifacts of these engines only.

    A variant that is left with none goes; `MissingVariant` when an original would. An exit that is left with none goes
    too, and with it every policy that uses it.
    """
    exits = tuple(_exit_for(e, engines) for e in model.exits)
    exits = tuple(e for e in exits if e.artifacts)
    usable = {FINAL, *(e.name for e in exits)}
    blocks = tuple(_block_for(model.name, block, engines) for block in model.blocks)
    kept = [
        [number for number, variant in enumerate(full.variants) if variant.name in {v.name for v in slim.variants}]
        for full, slim in zip(model.blocks, blocks, strict=True)
    ]
    return replace(
        model,
        blocks=blocks,
        accuracy_model=model.accuracy_model and model.accuracy_model.keeping(kept),
        exits=exits,
        policies=tuple(o for o in model.policies if usable.issuperset(name for name, _ in o.policy.steps)),
    )


@contextmanager
def read_archive(path: Path) -> Iterator[Archive]:
    """Open an archive; all of it is checked before the body runs. Raises `BadArchive` with the reason."""
    with ExitStack() as opened:
        with _explained(path):
            file = opened.enter_context(path.open("rb"))
            tar = opened.enter_context(tarfile.open(fileobj=file, mode="r:"))
            archive = _checked(path, tar)
        yield archive


class Archive:
    """An open archive that was found whole. `models` are in order of name."""

    def __init__(self, path: Path, tar: tarfile.TarFile, members: _Members, models: tuple[Model, ...]) -> None:
        self._path = path
        self._tar = tar
        self._members = members
        self.models = models

    def needed(self) -> tuple[str, ...]:
        """Blobs that its models refer to, in order of digest; the manifests are made anew by the store."""
        return tuple(sorted(frozenset[str]().union(*(model.digests() for model in self.models))))

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The bytes of one of its blobs; `BadArchive` when the file has changed since it was checked."""
        with _explained(self._path):
            yield from _chunks(self._tar, self._members[digest])


def _checked(path: Path, tar: tarfile.TarFile) -> Archive:
    manifests, sizes = _header(tar)
    members = _blob_members(tar, sizes)
    for digest, member in members.items():
        if _hash(tar, member) != digest:
            raise BadArchive(f"blob {digest} does not have its hash")
    models = tuple(sorted((_model(tar, members[digest]) for digest in manifests), key=lambda m: m.name))
    if len({model.name for model in models}) != len(models):
        raise BadArchive("two of its models have one name")
    for model in models:
        _check_whole(model, sizes)
    return Archive(path, tar, members, models)


def _header(tar: tarfile.TarFile) -> tuple[list[str], dict[str, int]]:
    """Digests of the manifests, and the size of every blob."""
    member = tar.next()
    if member is None or member.name != _HEADER or not _is_plain(member) or member.size > _JSON_LIMIT_BYTES:
        raise BadArchive(f"it does not begin with {_HEADER}: not an archive of a block store")
    header = json.loads(b"".join(_chunks(tar, member)))
    if not isinstance(header, dict) or header.get("format") != ARCHIVE_FORMAT:
        raise BadArchive(f"its format is not {ARCHIVE_FORMAT!r}, the one that this version reads")
    manifests, sizes = header.get("models"), header.get("blobs")
    if not isinstance(manifests, list) or not isinstance(sizes, dict):
        raise BadArchive("its header lacks models or blobs")
    if not all(is_digest(digest) and type(size) is int for digest, size in sizes.items()):
        raise BadArchive("its header names a blob by something that is no digest, or gives no size")
    if not all(isinstance(digest, str) and digest in sizes for digest in manifests):
        raise BadArchive("its header names a model whose manifest is not among the blobs")
    return manifests, sizes


def _blob_members(tar: tarfile.TarFile, sizes: Mapping[str, int]) -> _Members:
    """The members after the header: exactly the blobs that it names.

    The first one too many ends the reading.
    """
    expected = {_name(digest): digest for digest in sizes}
    found: dict[str, tarfile.TarInfo] = {}
    while (member := tar.next()) is not None:
        digest = expected.get(member.name)
        if digest is None or digest in found:
            raise BadArchive(f"member {member.name!r} is not in its header, or there twice")
        if not _is_plain(member):
            raise BadArchive(f"member {member.name!r} is a link or a special file")
        if member.size != sizes[digest]:
            raise BadArchive(f"member {member.name!r} has {member.size} bytes, the header says {sizes[digest]}")
        found[digest] = member
    lacking = sorted(sizes.keys() - found.keys())
    if lacking:
        raise BadArchive(f"it ends early: {len(lacking)} blobs are lacking, the first is {lacking[0]}")
    return found


def _model(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Model:
    if member.size > _JSON_LIMIT_BYTES:
        raise BadArchive(f"manifest {member.name!r} has {member.size} bytes, the limit is {_JSON_LIMIT_BYTES}")
    data = b"".join(_chunks(tar, member))
    try:
        model = Model.from_json(data)
    except BadManifest as error:
        raise BadArchive(str(error)) from error
    # Canonical JSON holds no NaN, and makes the manifest that the store writes the one whose hash was
    # checked.
    if model.to_json() != data:
        raise BadArchive(f"the manifest of model {model.name!r} is not in canonical form")
    return model


def _check_whole(model: Model, sizes: Mapping[str, int]) -> None:
    """Every artifact is among the blobs, with its size."""
    for artifact in model.artifacts():
        if sizes.get(artifact.digest) != artifact.size_bytes:
            raise BadArchive(
                f"model {model.name!r} needs blob {artifact.digest} of {artifact.size_bytes} bytes, which is not in it"
            )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever a foreign file makes the readers raise, as `BadArchive` with the path and the remedy."""
    try:
        yield
    except BadArchive as error:
        raise BadArchive(f"{path}: {error}; {_REMEDY}") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise BadArchive(f"cannot read {path}: {error.strerror}") from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise BadArchive(f"{path} is damaged or no archive of a block store ({error}); {_REMEDY}") from error


def _block_for(model_name: str, block: Block, engines: Sequence[str]) -> Block:
    slim = (replace(v, artifacts=tuple(a for a in v.artifacts if a.engine in engines)) for v in block.variants)
    kept = tuple(variant for variant in slim if variant.artifacts)
    if not kept or kept[0].kind != ORIGINAL:
        raise MissingVariant(
            f"model {model_name!r}: the original of block {block.index} ({block.name}) has no artifact for"
            f" {', '.join(engines)}; build the model for that engine, or export without the choice of engines"
        )
    return replace(block, variants=kept)


def _exit_for(exit_: Exit, engines: Sequence[str]) -> Exit:
    return replace(exit_, artifacts=tuple(a for a in exit_.artifacts if a.engine in engines))


def _name(digest: str) -> str:
    return f"blobs/sha256/{digest[:2]}/{digest}"


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    """A member whose header depends on name and size alone (time and owner are 0, the mode 0644)."""
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    return member


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()


def _hash(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    hasher = hashlib.sha256()
    for chunk in _chunks(tar, member):
        hasher.update(chunk)
    return hasher.hexdigest()


def _chunks(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    source = tar.extractfile(member)
    if source is None:
        raise BadArchive(f"member {member.name!r} has no bytes")
    with source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
