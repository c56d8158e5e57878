"""The network behind LitServe: `python -m benchmarks.peers.litserve_server PORT NETWORK.onnx WORKERS H W C`.

A frame comes as the file of a form, which is the leanest body that it takes; logits go back as bytes. LitServe reads
the annotation of `decode_request`, so annotations stay values here.
"""

import sys
from typing import Any

import litserve
import numpy as np
from fastapi import Request, Response

from benchmarks.peers.session import Session


class Network(litserve.LitAPI):
    """One worker."""

    def __init__(self, path: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._path, self._shape = path, shape

    def setup(self, device: str) -> None:  # noqa: ARG002 (it calls by name)
        """Load the network."""
        self._session = Session(self._path)

    def decode_request(self, request: Request) -> Any:
        """The frame in a form."""
        return np.frombuffer(request["frame"].file.read(), np.uint8).reshape(self._shape)

    def predict(self, frame: Any) -> Any:
        """The logits."""
        return self._session.run(frame)

    def encode_response(self, output: Any) -> Response:
        """Their bytes."""
        return Response(output.tobytes(), media_type="application/octet-stream")


def main() -> None:
    """Serve until ended."""
    port, path, workers, *size = sys.argv[1:]
    api = Network(path, (1, *map(int, size)))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(workers), timeout=20, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning", timeout_keep_alive=300
    )


if __name__ == "__main__":
    main()
