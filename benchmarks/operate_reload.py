"""From a SIGHUP to the new configuration in force, of a daemon that serves three apps."""

from __future__ import annotations

import signal
import statistics
import time
from pathlib import Path

from benchmarks.daemons import process_of
from benchmarks.harness import Figure
from benchmarks.operate_served import three_apps

FIGURES = ("reload_ms",)
LIMITS = (0.7, 0.8)
"""Of the lanes' utilisation, in turns."""
PATIENCE_S = 10.0


def measure(folder: Path, turns: int) -> dict[str, Figure]:
    """The median of so many reloads."""
    took_ms = []
    with three_apps(folder) as (control, state, runtime):
        process = process_of(runtime)
        for turn in range(turns):
            limit = LIMITS[turn % len(LIMITS)]
            (state / "conf.d" / "limit.toml").write_text(f"[limits]\nutilisation = {limit}\n")
            began_s = time.perf_counter()
            process.send_signal(signal.SIGHUP)
            while control.status()["utilisation_limit"] != limit:
                if time.perf_counter() - began_s > PATIENCE_S:
                    raise RuntimeError(f"the limit is not {limit} after {PATIENCE_S:g} s; see {state / 'daemon.log'}")
            took_ms.append((time.perf_counter() - began_s) * 1e3)
    return {"reload_ms": Figure(statistics.median(took_ms), "ms", None, {"took": took_ms})}
