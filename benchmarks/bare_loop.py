"""The least that serving over ZeroMQ can cost: a ROUTER loop that runs a route inline and nothing else.

`python -m benchmarks.bare_loop STORE MODEL SOCKET` serves until its standard input closes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import zmq

from blockstore.assembly import assemble, load_chain
from blockstore.store import Store
from schedulerd.serving.engines.onnx import OnnxEngine


def main() -> int:
    """Receive a frame, run the chain, send the logits."""
    root, name, endpoint = sys.argv[1:]
    engine = OnnxEngine(threads=1)
    with Store.open(Path(root)) as store:
        model = store.model(name)
        parts = assemble(model, [b.variants[0].name for b in model.blocks], engine.name)
        chain = load_chain(parts, lambda artifact: engine.load(store.path(artifact.digest)))
    shape = (1, *model.input.shape)
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
