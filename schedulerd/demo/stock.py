"""The demo's store: unpacked once from the archive that ships in the package, and again when that archive changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from blockstore.store import Store
from schedulerd.demo.digits import ARCHIVE


def demo_store(state: Path) -> Path:
    """The directory of the demo's store under `state`, made where it is not there yet."""
    name = hashlib.sha256(ARCHIVE.read_bytes()).hexdigest()[:12]
    root = state / f"store-{name}"
    with Store.open(root, create=True) as store:
        if not store.models():
            store.import_archive(ARCHIVE)
    return root
