"""An app in ten lines, with noise for a camera: `python clients/examples/ten_lines.py [RUNTIME_DIRECTORY]`."""

import sys

import numpy as np

from schedulerd_client import Client

camera = np.random.default_rng()
with Client(*sys.argv[1:]) as client:
    app = client.register("digits-residual", budget_ms=25, rate_hz=10)
    for _ in range(20):
        frame = camera.integers(0, 256, app.input.shape, app.input.dtype)
        reply = client.infer(frame)
        print(reply.outputs.argmax(), f"{reply.latency_ms:.1f} ms,", "on time" if reply.deadline_met else "late")
