"""What a killed build goes on from: files in one folder, each there whole or not at all, checked when they are read."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Final

from blockstore.durable import PARTIAL, durable_file, make_folder
from blockstore.errors import CannotBuild, StoreFull

_DIGEST_BYTES: Final = 32


class Work:
    """Named byte strings in `folder`, for one build: what decides its result is part of the folder's name.

    A file is the SHA-256 of its content and then the content: neither a torn write nor a flipped bit is taken for work.
    Processes may use one folder at the same time, as long as each name is written by one of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, data: bytes) -> None:
        """Keep `data` as `name`, a relative path, in place of what was there.

        Raises `CannotBuild` where the disk refuses it; what was kept before stays.
        """
        path = self.folder / name
        try:
            make_folder(path.parent)
            with durable_file(path, path.parent, mode=0o644) as file:
                file.write(hashlib.sha256(data).digest())
                file.write(data)
        except StoreFull as error:
            raise CannotBuild(
                f"cannot keep work in progress: {path} needs {_DIGEST_BYTES + len(data)} bytes, "
                f"{shutil.disk_usage(self.folder.parent).free} bytes are free there ({error.__cause__}). Nothing that "
                "was kept is lost: free some space, or raise the limit, and give the same command again to go on"
            ) from error

    def get(self, name: str) -> bytes | None:
        """What was kept as `name`; None where there is nothing, or something damaged."""
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        data = content[_DIGEST_BYTES:]
        return data if content[:_DIGEST_BYTES] == hashlib.sha256(data).digest() else None

    def put_json(self, name: str, document: Any) -> None:
        """Keep a JSON document; raises as `put` does."""
        self.put(name, json.dumps(document, sort_keys=True, allow_nan=False).encode())

    def get_json(self, name: str) -> Any:
        """A document that was kept; None as for `get`."""
        data = self.get(name)
        return None if data is None else json.loads(data)

    def discard(self, name: str) -> None:
        """Forget `name`."""
        (self.folder / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a kill left half-written; not while another process writes here."""
        for path in self.folder.rglob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """The build is in the store; nothing is left to go on from."""
        shutil.rmtree(self.folder, ignore_errors=True)
