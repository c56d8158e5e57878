"""The demo's store: unpacked once from the archive that ships in the package, and again when that archive changes."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

from blockstore.store import Store

ARCHIVE = "demo-store.tar"


def demo_store(state: Path) -> Path:
    """The directory of the demo's store under `state`, made where it is not there yet."""
    with resources.as_file(resources.files("schedulerd.demo") / ARCHIVE) as archive:
        name = hashlib.sha256(archive.read_bytes()).hexdigest()[:12]
        root = state / f"store-{name}"
        with Store.open(root, create=True) as store:
            if not store.models():
                store.import_archive(archive)
    return root
