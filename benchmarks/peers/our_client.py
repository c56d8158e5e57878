"""A client of schedulerd: `python -m benchmarks.peers.our_client RUNTIME MODEL FRAME.npy`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.peers.closed_loop import drive
from schedulerd_client import Client

BUDGET_MS, RATE_HZ = 10_000.0, 1.0
"""No limit is to bind: there is but one variant of each block, and the client sends as fast as it gets answers."""


def main() -> int:
    """Register, obey lines."""
    runtime, model, path = sys.argv[1:]
    frame = np.load(path)[0]
    with Client(Path(runtime), timeout_s=20.0) as client:
        client.register(model, budget_ms=BUDGET_MS, rate_hz=RATE_HZ)
        return drive(model, lambda _: client.infer(frame).outputs)


if __name__ == "__main__":
    sys.exit(main())
