"""A camera: frames at a steady rate, whether or not the ones before are answered.

`python -m benchmarks.camera RUNTIME MODEL RATE_HZ BUDGET_MS APP` registers and prints `null`. Then lines on standard
input: `go START SECONDS` sends from START (of `time.monotonic`, which all processes share) and prints, when all is
answered, `{"latencies_ms": [...], "refused": n, "lost": n, "error": text}`. The end of input ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from schedulerd_client import AsyncClient, Refusal, SchedulerdClientError

TIMEOUT_S = 10.0
"""A frame without an answer after so long is lost."""


class Count:
    """What became of the frames of one order."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.refused = self.lost = 0
        self.error = ""

    def as_map(self) -> dict[str, Any]:
        """To be printed."""
        return {"latencies_ms": self.latencies_ms, "refused": self.refused, "lost": self.lost, "error": self.error}


async def main() -> int:
    """Register, obey lines."""
    runtime, model, rate_hz, budget_ms, app = sys.argv[1:]
    loop = asyncio.get_running_loop()
    async with AsyncClient(Path(runtime), timeout_s=TIMEOUT_S) as client:
        registration = await client.register(model, budget_ms=float(budget_ms), rate_hz=float(rate_hz), app=app)
        frame = np.random.default_rng(0).integers(0, 256, registration.input.shape, np.uint8)
        _print(None)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            _, start_s, seconds = line.split()
            _print(await _send(client, frame, float(rate_hz), float(start_s), float(seconds)))
    return 0


async def _send(client: AsyncClient, frame: Any, rate_hz: float, start_s: float, seconds: float) -> dict[str, Any]:
    count = Count()
    frames = []
    for number in range(int(seconds * rate_hz)):
        await asyncio.sleep(max(0.0, start_s + number / rate_hz - time.monotonic()))
        frames.append(asyncio.create_task(_one(client, frame, count)))
    await asyncio.gather(*frames)
    return count.as_map()


async def _one(client: AsyncClient, frame: Any, count: Count) -> None:
    try:
        reply = await client.infer(frame)
    except Refusal as error:
        count.refused, count.error = count.refused + 1, f"{error}"
    except SchedulerdClientError as error:
        count.lost, count.error = count.lost + 1, f"{error}"
    else:
        count.latencies_ms.append(round(reply.latency_ms, 4))


def _print(document: Any) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
