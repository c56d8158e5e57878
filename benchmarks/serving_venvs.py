"""Virtual environments of peers: made when they are first needed, kept for the next run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.processes import ROOT

OUT = ROOT / "out" / "bench" / "peers"
INSTALL_TIMEOUT_S = 900.0
SAME_RUNTIME = f"onnxruntime=={metadata.version('onnxruntime')}"
"""What every side computes with is what we have."""


class PeerMissing(Exception):
    """A peer cannot be installed or started here; the text says why."""


def python_of(name: str, requirements: Sequence[str], bare: Sequence[str] = ()) -> Path:
    """The interpreter of an environment with `requirements`, and with `bare` ones without what they depend on.

    Raises `PeerMissing`.
    """
    wanted = "\n".join((sys.version, *requirements, *bare))
    folder = OUT / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    python, mark = folder / "bin" / "python", folder / "complete"
    if mark.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    print(f"{name}: installing {', '.join((*requirements, *bare))}", file=sys.stderr, flush=True)
    _run(name, [sys.executable, "-m", "venv", str(folder)])
    _run(name, [*install, *requirements])
    if bare:
        _run(name, [*install, "--no-deps", *bare])
    mark.touch()
    return python


def _run(name: str, command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"{name} was not installed within {INSTALL_TIMEOUT_S:g} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["nothing said"]
        raise PeerMissing(f"{name} cannot be installed: {lines[-1]}")
