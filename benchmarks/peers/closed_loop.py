"""A client that sends the next frame when the one before is answered, driven by lines on standard input.

It begins with one call and prints its output as a JSON list. `go MODEL START SECONDS` calls at once, so that the
server is warm, and counts what begins and ends within SECONDS from START (of `time.monotonic`, which all processes
share); it prints `{"latencies_ms": [...], "failed": n, "error": first text}`. The end of input ends it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

MOST_FAILURES = 100
"""In one window: then the server is gone."""


def drive(model: str, call: Callable[[str], Any]) -> int:
    """Obey lines; `call(model)` sends the frame and returns the output."""
    _print([float(value) for value in call(model).reshape(-1)])
    for line in sys.stdin:
        _, asked, start_s, seconds = line.split()
        _print(_window(partial(call, asked), float(start_s), float(start_s) + float(seconds)))
    return 0


def _window(call: Callable[[], Any], start_s: float, end_s: float) -> dict[str, Any]:
    latencies_ms: list[float] = []
    failed, error = 0, ""
    now_s = time.monotonic()
    while now_s < end_s and failed < MOST_FAILURES:
        began_s, answered = now_s, True
        try:
            call()
        except Exception as problem:  # whatever a peer's library raises is a failed request
            answered, failed = False, failed + 1
            error = error or f"{type(problem).__name__}: {problem}"
        now_s = time.monotonic()
        if answered and began_s >= start_s and now_s <= end_s:
            latencies_ms.append(round(1e3 * (now_s - began_s), 4))
    return {"latencies_ms": latencies_ms, "failed": failed, "error": error}


def _print(document: Any) -> None:
    print(json.dumps(document), flush=True)
