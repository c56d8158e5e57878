"""A client of LitServe: `python -m benchmarks.peers.litserve_client PORT FRAME.npy`.

It has no library of its own for Python; this is the standard one, on a connection that stays open, with the form made
once.
"""

from __future__ import annotations

import http.client
import sys
from typing import Any

import numpy as np

from benchmarks.peers.closed_loop import drive

TIMEOUT_S = 20.0
BOUNDARY = "frame-of-the-benchmark"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def main() -> int:
    """Connect, obey lines."""
    port, path = sys.argv[1:]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
    body = form(np.load(path).tobytes())

    def call(_: str) -> Any:
        connection.request("POST", "/predict", body, HEADERS)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{answer.status}: {data[:200]!r}")
        return np.frombuffer(data, np.float32)

    return drive("", call)


def form(data: bytes) -> bytes:
    """A form with one file."""
    head = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="frame"; filename="frame"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


if __name__ == "__main__":
    sys.exit(main())
