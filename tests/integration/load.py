"""A client that asks until the standard input closes, and then says how it fared; run as `python -m`.

Arguments: the runtime directory, a model of 28x28 digits.
"""

from __future__ import annotations

import json
import sys
import threading

from schedulerd.demo.digits import held_out
from schedulerd_client import Client


def main() -> None:
    """Prints `asking` with the first answer, and at the end the number of answers and what went wrong."""
    runtime, model = sys.argv[1:]
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    answered, failures = 0, []
    image = held_out().images[0]
    with Client(runtime, timeout_s=30.0) as client:
        client.register(model, budget_ms=200, rate_hz=50)
        while not ended.wait(0.02):
            try:
                client.infer(image)
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}")
            else:
                answered += 1
                if answered == 1:
                    print("asking", flush=True)
    print(json.dumps({"answered": answered, "failures": failures}), flush=True)


if __name__ == "__main__":
    main()
