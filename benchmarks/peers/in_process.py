"""A client that runs the network itself: `python -m benchmarks.peers.in_process NETWORK.onnx FRAME.npy`.

No server adds anything: what one session comes to, with as many clients.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.peers.closed_loop import drive
from benchmarks.peers.session import Session


def main() -> int:
    """Load the network, obey lines."""
    path, frame_path = sys.argv[1:]
    session, frame = Session(path), np.load(frame_path)
    return drive("", lambda _: session.run(frame))


if __name__ == "__main__":
    sys.exit(main())
