"""An operator with a trembling hand: sets an app's budget to and fro, ten times a second, and says what each edit took.

`python -m benchmarks.toggler RUNTIME APP LOW_MS HIGH_MS RATE_HZ`, driven by lines on standard input: `go SECONDS`
toggles for that long and answers with one JSON list of the daemon's apply times; the end of input ends it.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

from schedulerd_client import ControlClient


def main() -> int:
    """Obey lines."""
    runtime, app = sys.argv[1:3]
    low_ms, high_ms, rate_hz = map(float, sys.argv[3:])
    budgets = itertools.cycle((low_ms, high_ms))
    with ControlClient(Path(runtime), timeout_s=10.0) as control:
        for line in sys.stdin:
            seconds = float(line.split()[1])
            began_s = time.monotonic()
            applied_ms = []
            for turn in range(int(seconds * rate_hz)):
                time.sleep(max(0.0, began_s + turn / rate_hz - time.monotonic()))
                applied_ms.append(control.set_budget(app, next(budgets))["apply_ms"])
            print(json.dumps(applied_ms), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
