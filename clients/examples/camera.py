"""A real camera or a video file: raw frames on standard input, one line for each answer.

ffmpeg reads whatever there is, scales it to what the model takes, and keeps the rate:

    ffmpeg -v error -f v4l2 -framerate 10 -i /dev/video0 -f rawvideo -pix_fmt gray -s 144x144 - |
        python clients/examples/camera.py digits-residual --rate-hz 10 --budget-ms 25

For a file, `-re -i film.mp4` takes the place of the camera; for a model of three channels, `-pix_fmt rgb24`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from io import BufferedReader

import numpy as np

from schedulerd_client import Client, Drained, Reply, SchedulerdClientError


def frames(stream: BufferedReader, buffer: np.ndarray) -> Iterator[np.ndarray]:
    """Whole frames of `stream`, one after the other in `buffer`, until it ends; a torn last one is left out."""
    room = buffer.data.cast("B")
    while stream.readinto(room) == len(room):
        yield buffer


def told(reply: Reply, labels: tuple[str, ...]) -> str:
    """What is seen, and what it cost."""
    best = int(reply.outputs.argmax())
    seen = labels[best] if best < len(labels) else str(best)
    route = "|".join(reply.route)
    early = "" if reply.left == "end" else f"  {reply.left} at {reply.exit}"
    return f"{seen:<12} {reply.latency_ms:6.1f} ms  {'on time' if reply.deadline_met else 'late':<8} {route}{early}"


def answered(client: Client, frame: np.ndarray, labels: tuple[str, ...]) -> str:
    """What is seen; while an operator holds the app, that it is held: a later frame may be served again."""
    try:
        return told(client.infer(frame), labels)
    except Drained as held:
        return str(held)


def main() -> int:
    """Register, send every frame, say what came back; 1 when the daemon refused or is gone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rate-hz", type=float, default=10.0, help="what the camera gives (default 10)")
    parser.add_argument("--budget-ms", type=float, default=50.0, help="(default 50)")
    parser.add_argument("--late", default="run", help="what becomes of late frames: run (default), drop or exit")
    parser.add_argument("--runtime", help="the daemon's runtime directory")
    options = parser.parse_args()
    try:
        with Client(options.runtime) as client:
            app = client.register(options.model, options.budget_ms, options.rate_hz, late=options.late)
            # Frames are read to where the daemon sees them; each is answered before the next one takes its place.
            for frame in frames(sys.stdin.buffer, client.frame_buffer()):
                print(answered(client, frame, app.labels), flush=True)
    except SchedulerdClientError as error:
        print(f"camera: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
