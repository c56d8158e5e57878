"""`schedulerd` itself: it starts without what only its sub-commands need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"numpy", "torch", "onnxruntime", "pulp", "structlog", "psutil", "zmq", "matplotlib"}


def test_its_help_needs_none_of_the_heavy_packages() -> None:
    code = (
        "import contextlib, sys, schedulerd.cli\n"
        "with contextlib.suppress(SystemExit): schedulerd.cli.main(['--help'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "profiles", "clients/python"))
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "build" in ended.stdout
    assert not HEAVY & set(ended.stderr.split())
