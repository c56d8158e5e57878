"""What the SDK is from outside."""

from __future__ import annotations

import subprocess
import sys

import schedulerd_client

HEAVY = {"torch", "onnxruntime", "pulp", "structlog", "psutil", "schedulerd.errors", "blockstore", "blockprofiles"}


def test_importing_it_loads_nothing_of_the_daemon() -> None:
    code = "import sys, schedulerd_client; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not HEAVY & set(found.stdout.split())


def test_every_public_name_is_there_and_sorted() -> None:
    public = schedulerd_client.__all__
    assert [name for name in public if not hasattr(schedulerd_client, name)] == []
    assert len(set(public)) == len(public)
