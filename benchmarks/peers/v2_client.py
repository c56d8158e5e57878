"""A client of what speaks the V2 protocol: `python -m benchmarks.peers.v2_client http|grpc ADDRESS MODEL FRAME.npy`.

Triton's own library, which sends tensors as they lie in memory in both protocols; on one connection that stays open.
"""

from __future__ import annotations

import sys

import numpy as np
from tritonclient import grpc, http

from benchmarks.peers.closed_loop import drive

TIMEOUT_S = 20.0


def main() -> int:
    """Connect, obey lines."""
    protocol, address, model, path = sys.argv[1:]
    frame = np.load(path)
    if protocol == "http":
        library, timeout = http, {}
        client = http.InferenceServerClient(address, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S)
    else:
        library, timeout = grpc, {"client_timeout": TIMEOUT_S}
        client = grpc.InferenceServerClient(address)
    asked = library.InferInput("input", frame.shape, "UINT8")
    asked.set_data_from_numpy(frame)
    wanted = [library.InferRequestedOutput("output")]
    return drive(model, lambda name: client.infer(name, [asked], outputs=wanted, **timeout).as_numpy("output"))


if __name__ == "__main__":
    sys.exit(main())
