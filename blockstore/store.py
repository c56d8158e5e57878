"""Open first: a store of models, blocks and variants in one folder.

    blobs/sha256/ab/abcdef...   artifacts and manifests, immutable, named by their hash
    quarantine/                 blobs whose bytes were not those of their name
    tmp/                        what is being written
    index.sqlite                which models there are; can be made again from the blobs
    lock                        held by the one writer

Any number of processes read while one writes: a daemon serves from a store that a builder adds to. The order
of writing is always blob, manifest, index, so that a process killed anywhere leaves either the old model or
the new one, and at worst unused blobs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import structlog

from blockstore import upkeep
from blockstore.archive import Imported, for_engines, read_archive, write_archive
from blockstore.blobs import Blobs, digest_of
from blockstore.block import Model
from blockstore.durable import make_folder
from blockstore.errors import (
    BadManifest,
    BlockStoreError,
    CorruptBlob,
    MissingBlob,
    MissingModel,
    NotAStore,
    StoreBusy,
    StoreReadOnly,
)
from blockstore.index import Entry, Index, IndexUnreadable
from blockstore.lock import WriteLock
from blockstore.recovery import entry_of, recover
from blockstore.upkeep import DEFAULT_GRACE_S, Collected, Verification

LOCK_TIMEOUT_S = 10.0
_READ_ATTEMPTS = 4
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuild:
    """What making the index anew found."""

    reason: str
    models: tuple[str, ...]
    blobs: int
    """How many blobs were looked at."""
    superseded: tuple[str, ...]
    """Older manifests of these models, left for `gc`."""
    quarantined: tuple[str, ...]
    """Manifests that were damaged: their models are not in the index."""


class Store:
    """The store below `root`, from `Store.open`. Any thread may use it; nothing stays open between calls."""

    def __init__(self, root: Path, *, read_only: bool, lock_timeout_s: float) -> None:
        self.root = root
        self.read_only = read_only
        self.rebuilt: Rebuild | None = None
        """The last time that this object found the index absent or unreadable; None when it never did."""
        self._blobs = Blobs(root)
        self._index = Index(root / "index.sqlite")
        self._lock = WriteLock(root / "lock", lock_timeout_s)
        self._verified: set[str] = set()
        self._scanned: tuple[object, dict[str, Entry]] | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        create: bool = False,
        read_only: bool = False,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> Store:
        """Open the store at `root`, making an empty one first with `create`.

        An index that is absent or unreadable is made again from the blobs (`rebuilt` says so). A folder that
        this process may not write is opened read-only; then the models are read from the blobs themselves,
        and nothing is written at all. Raises `NotAStore`, and `StoreBusy` when the index must be made and
        another process writes for `lock_timeout_s`.
        """
        if create and not read_only:
            make_folder(root / "blobs")
        if not (root / "blobs").is_dir():
            raise NotAStore(
                f"{root} holds no block store; build a model into it (`schedulerd build`), or bring one"
                " (`schedulerd store import ARCHIVE`)"
            )
        store = cls(root, read_only=read_only or not os.access(root, os.W_OK), lock_timeout_s=lock_timeout_s)
        if not store.read_only:
            store._prepare()
        return store

    def close(self) -> None:
        """Forget which blobs were checked; the next use checks them again."""
        self._verified.clear()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Reading

    def models(self) -> tuple[str, ...]:
        """Names of all models, sorted; also of those that have lost blobs (`missing`, `verify`)."""
        return tuple(self._entries())

    def model(self, name: str) -> Model:
        """One model. Raises `MissingModel`, and `MissingBlob` or `CorruptBlob` for its manifest."""
        for _ in range(_READ_ATTEMPTS - 1):
            # A builder that replaces a model removes the old manifest; the index names the new one by then.
            with suppress(MissingBlob):
                return self._read(self._entry(name))
        return self._read(self._entry(name))

    def whole_models(self, on_fault: Callable[[str, BlockStoreError], None]) -> dict[str, Model]:
        """Every model whose manifest can be read; `on_fault` is told the name of each other one and why."""
        models = {}
        for name in self.models():
            try:
                models[name] = self.model(name)
            except BlockStoreError as error:
                on_fault(name, error)
        return models

    def missing(self, model: Model) -> frozenset[str]:
        """Blobs of a model that are not on disk. Looks at names only; `verify` reads the bytes."""
        return frozenset(digest for digest in model.digests() if self._blobs.size_bytes(digest) is None)

    def path(self, digest: str) -> Path:
        """The file of a blob, read only. Its hash is checked the first time that this object hands it out.

        Raises `MissingBlob`, or `CorruptBlob` after moving the blob to quarantine. The file may be unlinked
        by a later `gc`, so open or map it now; its bytes never change.
        """
        path = self._blobs.find(digest)
        if digest not in self._verified:
            if not self._blobs.matches(digest):
                self._condemn(digest)
            self._verified.add(digest)
        return path

    def quarantined(self) -> tuple[Path, ...]:
        """Files in quarantine, for a person to look at."""
        return self._blobs.quarantined()

    def verify(self) -> Verification:
        """Read and hash every blob; corrupt ones go to quarantine. Says what each model has lost."""
        report = upkeep.verify(self._blobs, self._entries().values(), self._read_if_possible)
        for digest in report.corrupt:
            with suppress(CorruptBlob, MissingBlob):
                self._condemn(digest)
        return report

    def export_archive(self, names: Iterable[str], path: Path, *, engines: Sequence[str] | None = None) -> None:
        """Write models and their blobs to one file; `engines` leaves out the artifacts of all others.

        Equal content gives equal bytes. Raises `MissingModel`, `MissingVariant`, `MissingBlob`,
        `CorruptBlob`, `StoreFull`.
        """
        models = [self.model(name) for name in sorted(set(names))]
        if engines is not None:
            models = [for_engines(model, engines) for model in models]
        digests = frozenset[str]().union(*(model.digests() for model in models))
        write_archive(path, models, {digest: self.path(digest) for digest in digests})

    # Writing

    def put_blob(self, data: bytes) -> str:
        """Store bytes and return their digest.

        A blob that is there already is checked, and put anew if it is damaged.
        """
        digest = digest_of(data)
        with self._writing():
            self._ensure(digest, (data,))
        return digest

    def put_model(self, model: Model) -> None:
        """Add a model, or replace the one of its name in one step.

        Raises `BadManifest` when the model does not join or gives a blob the wrong size, `MissingBlob` when
        one was not put before.
        """
        self._put((model,))

    def import_archive(self, path: Path) -> Imported:
        """Add the models of an archive: all of them or, on an error, none. Importing twice changes nothing.

        Raises `BadArchive` before anything is written. Blobs of an import that is cut short are left for
        `gc`.
        """
        with read_archive(path) as archive:
            new = [digest for digest in archive.needed() if self._bring(digest, archive.chunks(digest))]
            before = self._put(archive.models)
        after = {model.name: digest_of(model.to_json()) for model in archive.models}
        unchanged = {n for n, manifest in after.items() if n in before and before[n].manifest == manifest}
        return Imported(
            added=tuple(name for name in after if name not in before),
            replaced=tuple(name for name in after if name in before and name not in unchanged),
            unchanged=tuple(name for name in after if name in unchanged),
            new_blobs=len(new),
            new_bytes=sum(self._blobs.size_bytes(digest) or 0 for digest in new),
        )

    def remove_model(self, name: str) -> None:
        """Forget a model; `gc` removes the blobs that no other model needs. Raises `MissingModel`."""
        with self._writing_index():
            entry = self._entry(name)
            self._index.remove(name)
            # Without its manifest the model cannot come back when the index is made again.
            self._blobs.unlink(entry.manifest)

    def gc(self, grace_s: float = DEFAULT_GRACE_S) -> Collected:
        """Unlink the blobs that no model needs and what crashes left half-written.

        Blobs put or touched within the last `grace_s` seconds are spared: their model may be about to be put.
        """
        with self._writing_index():
            needed = frozenset[str]().union(*(entry.digests() for entry in self._index.entries().values()))
            collected = upkeep.collect(self._blobs, needed, time.time() - grace_s)
        _log.info("store_collected", root=str(self.root), **asdict(collected))
        return collected

    def rebuild_index(self) -> Rebuild:
        """Make the index again from the manifests among the blobs, of each name the one built last."""
        with self._writing():
            return self._rebuild("asked for")

    # Inside

    def _prepare(self) -> None:
        self._blobs.prepare()
        try:
            self._index.check()
        except IndexUnreadable:
            with self._writing_index():
                pass

    def _entries(self) -> dict[str, Entry]:
        if self.read_only:
            return self._scan()
        try:
            return self._index.entries()
        except IndexUnreadable:
            with self._writing_index():
                return self._index.entries()

    def _scan(self) -> dict[str, Entry]:
        """The models as the blobs tell them, looked up again whenever a writer has changed the index."""
        signature = self._index.signature()
        if self._scanned is None or self._scanned[0] != signature:
            self._scanned = (signature, {entry.name: entry for entry in recover(self._blobs).entries})
        return self._scanned[1]

    def _entry(self, name: str) -> Entry:
        entries = self._entries()
        if name not in entries:
            known = ", ".join(entries) or "none"
            raise MissingModel(f"no model {name!r} in {self.root}; it has {known}")
        return entries[name]

    def _read(self, entry: Entry) -> Model:
        self.path(entry.manifest)
        with self._blobs.open(entry.manifest) as file:
            return Model.from_json(file.read())

    def _read_if_possible(self, entry: Entry) -> Model | None:
        with suppress(BlockStoreError):
            return self._read(entry)
        return None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self.read_only:
            raise StoreReadOnly(f"{self.root} is open for reading only; write to it as a user who owns it")
        with self._lock.hold():
            yield

    @contextmanager
    def _writing_index(self) -> Iterator[None]:
        """The lock, and an index that is sound."""
        with self._writing():
            try:
                self._index.check()
            except IndexUnreadable as error:
                self._mend(str(error) if self._index.path.exists() else "it was absent")
            yield

    def _mend(self, reason: str) -> None:
        """Make the index where there is none to trust. Hold the lock."""
        rebuild = self._rebuild(reason)
        if rebuild.blobs:  # else the store is new
            self.rebuilt = rebuild
            _log.warning("store_index_rebuilt", root=str(self.root), **asdict(rebuild))

    def _rebuild(self, reason: str) -> Rebuild:
        """Hold the lock."""
        found = recover(self._blobs)
        self._index.replace_all(found.entries)
        for digest in found.corrupt:
            self._set_aside(digest)
        models = tuple(entry.name for entry in found.entries)
        return Rebuild(reason, models, found.blobs, found.superseded, found.corrupt)

    def _bring(self, digest: str, chunks: Iterable[bytes]) -> bool:
        with self._writing():
            return self._ensure(digest, chunks)

    def _ensure(self, digest: str, chunks: Iterable[bytes]) -> bool:
        """Have the blob on disk, sound and young; True when it had to be written. Hold the lock."""
        new = not self._has_sound(digest)
        if new:
            self._blobs.write(digest, chunks)
        else:
            self._blobs.touch(digest)
        self._verified.add(digest)
        return new

    def _has_sound(self, digest: str) -> bool:
        if self._blobs.size_bytes(digest) is None:
            return False
        if digest in self._verified or self._blobs.matches(digest):
            return True
        self._set_aside(digest)
        return False

    def _put(self, models: Sequence[Model]) -> dict[str, Entry]:
        """Put models in one step; returns the entries that there were before."""
        manifests = {model.name: _manifest(model) for model in models}
        entries = [entry_of(m, digest_of(manifests[m.name]), len(manifests[m.name])) for m in models]
        with self._writing_index():
            for model in models:
                self._check_blobs(model)
            before = self._index.entries()
            for data in manifests.values():
                self._ensure(digest_of(data), (data,))
            self._index.put(entries)
            # An older manifest would win when the index is made again, if it says that it was built later.
            for entry in entries:
                old = before.get(entry.name, entry).manifest
                if old != entry.manifest:
                    self._blobs.unlink(old)
        return before

    def _check_blobs(self, model: Model) -> None:
        for artifact in model.artifacts():
            size_bytes = self._blobs.find(artifact.digest).stat().st_size
            if size_bytes != artifact.size_bytes:
                part = upkeep.parts_of(model)[artifact.digest][0]
                raise BadManifest(
                    f"{part}: blob {artifact.digest} has {size_bytes} bytes, the model says {artifact.size_bytes}"
                )

    def _condemn(self, digest: str) -> None:
        """Quarantine a damaged blob and raise `CorruptBlob`; return if it was mended meanwhile."""
        self._verified.discard(digest)
        try:
            with self._writing():
                if self._blobs.matches(digest):
                    return
                fate = f"it was moved to {self._set_aside(digest)}"
        except (StoreBusy, StoreReadOnly) as error:
            fate = f"it stays where it is ({error})"
        raise CorruptBlob(
            f"blob {digest} does not have its hash; {fate}. Import an archive that holds it or build its"
            " model again; `schedulerd store verify` names the model"
        )

    def _set_aside(self, digest: str) -> Path:
        """Hold the lock."""
        target = self._blobs.set_aside(digest)
        _log.error("blob_quarantined", digest=digest, moved_to=str(target))
        return target


def _manifest(model: Model) -> bytes:
    """The model's manifest, read back once: what is put can be read."""
    try:
        data = model.to_json()
    except (TypeError, ValueError) as error:
        raise BadManifest(f"model {model.name!r} cannot be written as JSON: {error}") from error
    Model.from_json(data)
    return data
