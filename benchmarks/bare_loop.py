"""The least that serving over ZeroMQ can cost: a ROUTER loop that runs a route inline and nothing else.

`python -m benchmarks.bare_loop STORE MODEL SOCKET` serves until its standard input closes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import zmq

from benchmarks.bare_route import input_shape, original_chain


def main() -> int:
    """Receive a frame, run the chain, send the logits."""
    root, name, endpoint = sys.argv[1:]
    chain = original_chain(Path(root), name)
    shape = input_shape(Path(root), name)
    router = zmq.Context.instance().socket(zmq.ROUTER)
    router.bind(endpoint)
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if sys.stdin.fileno() in ready:
            return 0
        identity, frame = router.recv_multipart(copy=False)
        output = chain.run(np.frombuffer(frame.buffer, np.uint8).reshape(shape))
        router.send_multipart([identity, output])


if __name__ == "__main__":
    sys.exit(main())
