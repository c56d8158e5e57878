"""Kill a process that writes to a store before each of its file operations in turn, with SIGKILL.

`python -m tests.blockstore.crashing SCENARIO BASE FOLDER`: for n = 1, 2, ... copies the store BASE to FOLDER/n and lets
a forked process run the scenario in it, killed before its nth operation; ends with the first one that is not reached.
Its own process, because it forks: no other test's threads are in here.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

from blockstore.store import Store
from tests.blockstore.samples import put_sample

# What changes the disk, or lies between two changes (docs.python.org/3/library/audit_events.html).
_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.utime", "os.truncate", "fcntl.flock", "sqlite3.connect"}


def _replace_and_remove(root: Path) -> None:
    with Store.open(root) as store:
        put_sample(store, "digits", weights=b"second", provenance={"built_at": "2026-02-01T00:00:00+00:00"})
        store.remove_model("other")
        store.gc(grace_s=0)


def _downgrade(root: Path) -> None:
    with Store.open(root) as store:
        put_sample(store, "digits", weights=b"zeroth", provenance={"built_at": "2025-02-01T00:00:00+00:00"})


def _open_garbage(root: Path) -> None:
    (root / "index.sqlite").write_bytes(b"garbage" * 1000)
    Store.open(root).close()


def _rebuild(root: Path) -> None:
    with Store.open(root) as store:
        store.rebuild_index()


def _import(root: Path) -> None:
    with Store.open(root) as store:
        store.import_archive(root.parent.parent / "models.tar")


SCENARIOS: dict[str, Callable[[Path], None]] = {
    "replace and remove": _replace_and_remove,
    "downgrade": _downgrade,
    "open garbage": _open_garbage,
    "rebuild": _rebuild,
    "import": _import,
}


def main(scenario: str, base: Path, folder: Path) -> None:
    """Run a scenario until no operation is left to be killed before."""
    for number in count(1):
        root = folder / str(number)
        shutil.copytree(base, root)
        child = os.fork()
        if child == 0:
            _die_before(number)
            SCENARIOS[scenario](root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))


def _die_before(number: int) -> None:
    seen = 0

    def watch(event: str, _: object) -> None:
        nonlocal seen
        if event in _EVENTS:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
