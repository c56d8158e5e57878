"""Verdicts and merged graphs on disk, so that a restart neither composes nor measures again.

    <folder>/<key>.json    the verdict on a run of blocks
    <folder>/<key>.onnx    the merged graph, where it is faster

The key is a hash of everything that the verdict depends on: the blobs in their order, the device with its engine's
version, the threads. So an entry never has to be changed, and what is stale is never found.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from blockstore.durable import durable_file, make_folder
from blockstore.errors import BlockStoreError, CorruptBlob
from schedulerd.merging.verdict import Verdict

FORMAT: Final = "schedulerd-merged/1"
MAX_BYTES: Final = 512 * 2**20
"""Of merged graphs on disk; the ones that were not loaded for the longest time go first."""

log = structlog.get_logger(__name__)


class VerdictCache:
    """The verdicts of one device. The control thread is the only caller, but for `checked`."""

    def __init__(self, folder: Path, fingerprint: str, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._max_bytes = max_bytes
        self._known: dict[str, Verdict | None] = {}
        """What was read or put in this process; the disk is asked once for each key."""
        self._told = False

    def key(self, blobs: Sequence[str], threads: int) -> str:
        """Of blocks with these digests, in order, run with so many threads each."""
        return hashlib.sha256("\n".join((FORMAT, self._fingerprint, str(threads), *blobs)).encode()).hexdigest()

    def file(self, key: str) -> Path:
        """Where the merged graph of a key is, or would be."""
        return self._folder / f"{key}.onnx"

    def get(self, key: str) -> Verdict | None:
        """The verdict, None where there is none that can be used."""
        if key not in self._known:
            self._known[key] = self._read(key)
        return self._known[key]

    def put(self, key: str, verdict: Verdict, *, lasting: bool = True) -> None:
        """Keep a verdict, for this process only where it is not `lasting`. A disk that refuses it is told once."""
        self._known[key] = verdict
        if not lasting:
            return
        try:
            make_folder(self._folder)
            with durable_file(self._folder / f"{key}.json", self._folder, 0o644) as file:
                file.write(verdict.to_json())
            self._prune(keep=key)
        except (OSError, BlockStoreError) as error:
            if not self._told:
                log.warning("merge_not_kept", reason=str(error), remedy="until then each start measures again")
            self._told = True

    def checked(self, key: str, verdict: Verdict) -> Path:
        """The merged graph, its hash compared with the verdict's; raises `CorruptBlob` or OSError. Any thread."""
        path = self.file(key)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != verdict.sha256:
            raise CorruptBlob(f"{path} has the hash {found[:12]}, not {verdict.sha256[:12]}; it is made again")
        os.utime(path)
        return path

    def forget(self, key: str) -> None:
        """Let go of a verdict whose graph is damaged, so that it is made again."""
        self._known.pop(key, None)
        for path in (self._folder / f"{key}.json", self.file(key)):
            path.unlink(missing_ok=True)

    def _read(self, key: str) -> Verdict | None:
        try:
            verdict = Verdict.from_json((self._folder / f"{key}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return verdict if not verdict.faster or self.file(key).exists() else None

    def _prune(self, keep: str) -> None:
        files = sorted(((path.stat(), path) for path in self._folder.glob("*.onnx")), key=lambda f: f[0].st_mtime)
        excess_bytes = sum(stat.st_size for stat, _ in files) - self._max_bytes
        for stat, path in files:
            if excess_bytes > 0 and path.stem != keep:
                self.forget(path.stem)
                excess_bytes -= stat.st_size
