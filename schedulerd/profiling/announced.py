"""An engine that says of every run which blob it is, for a worker before which another one ended unexplained.

A blob that crashes or hangs at its first run is known by what was begun last. Later runs are timed and not announced,
because that takes as long as a small block does; where one of them ends the process, the next one announces them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from blockprofiles.bench import Engine
from blockprofiles.listener import Listener, begun


@dataclass(frozen=True, slots=True)
class _Announced:
    """A block or head that tells of each run."""

    digest: str
    inner: Any
    listener: Listener

    def run(self, tensors: Any) -> Any:
        """As the block or head that it stands for."""
        with begun(self.digest, self.listener):
            return self.inner.run(tensors)


class AnnouncedEngine:
    """A `blockprofiles.bench.Engine` around another one."""

    def __init__(self, engine: Engine, digests: Mapping[Path, str], listener: Listener) -> None:
        """Args: engine; digests: of the blobs, by file; listener: is told what loads and runs."""
        self.name, self.threads = engine.name, engine.threads
        self._engine, self._digests, self._listener = engine, digests, listener

    def version(self) -> str:
        """See `Engine`."""
        return self._engine.version()

    def load(self, path: Path) -> _Announced:
        """See `Engine`."""
        digest = self._digests[path]
        with begun(digest, self._listener):
            return _Announced(digest, self._engine.load(path), self._listener)

    def load_apart(self, path: Path) -> _Announced:
        """See `Engine`."""
        digest = self._digests[path]
        with begun(digest, self._listener):
            return _Announced(digest, self._engine.load_apart(path), self._listener)

    def load_head(self, path: Path) -> _Announced:
        """See `Engine`."""
        digest = self._digests[path]
        with begun(digest, self._listener):
            return _Announced(digest, self._engine.load_head(path), self._listener)

    def feed(self, array: npt.NDArray[Any]) -> Any:
        """See `Engine`."""
        return self._engine.feed(array)
