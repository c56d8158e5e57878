"""In an operator's hands, in figures: what the units leave open, what a killed daemon costs, how quick `schedctl` is.

The exposures are what `systemd-analyze security --offline=true` says of the unit with the drop-in of each profile, 0 to
10; `verify` must find nothing, or there is no figure.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks import operate_reload, operate_top
from benchmarks.harness import Figure, Options, Target, kept, main
from benchmarks.operate_kill import RATE_HZ, killed
from benchmarks.operate_served import three_apps
from benchmarks.operate_units import exposure

PROFILES = ("default", "jetson", "pi", "loopback", "network", "remote")
EXPOSURES = tuple(f"exposure_{profile}" for profile in PROFILES)
KILL = ("kill_unanswered", "kill_gap_s")
STATUS = ("status_ms",)
FIGURES = (*EXPOSURES, *KILL, *STATUS, *operate_reload.FIGURES, *operate_top.FIGURES)


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure that was asked for."""
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="schedulerd-bench-") as name:
        folder = Path(name)
        for profile, figure in zip(PROFILES, EXPOSURES, strict=True):
            if options.wants(figure):
                found |= kept([figure], partial(_exposure, figure, profile))
        if options.wants(*KILL):
            found |= kept(KILL, lambda: _kill(folder / "kill", 2 if options.quick else 10))
        if options.wants(*STATUS):
            found |= kept(STATUS, lambda: _status(folder / "status", 5 if options.quick else 40))
        if options.wants(*operate_reload.FIGURES):
            turns = 4 if options.quick else 30
            found |= kept(operate_reload.FIGURES, lambda: operate_reload.measure(folder / "reload", turns))
        if options.wants(*operate_top.FIGURES):
            seconds = 3.0 if options.quick else 20.0
            found |= kept(operate_top.FIGURES, lambda: operate_top.measure(folder / "top", seconds))
    return {name: figure for name, figure in found.items() if options.wants(name)}


def _exposure(figure: str, profile: str) -> dict[str, Figure]:
    return {figure: exposure(profile)}


def _kill(folder: Path, kills: int) -> dict[str, Figure]:
    """SIGKILL of a daemon under 100 requests a second, again and again, with a supervisor that restarts it."""
    outcome = killed(folder, kills)
    unanswered = len(outcome.failures)
    if outcome.answered < RATE_HZ:
        raise RuntimeError(f"{outcome.answered} answers are no load; first failures: {outcome.failures[:3]}")
    samples = {"last_client": outcome.gaps_s, "first_client": outcome.first_gaps_s, "ready": outcome.ready_s}
    return {
        "kill_unanswered": Figure(unanswered, "requests", Target("<=", 0), {"answered": [outcome.answered]}),
        "kill_gap_s": Figure(max(outcome.gaps_s), "s", Target("<=", 2), samples),
    }


def _status(folder: Path, turns: int) -> dict[str, Figure]:
    """Wall time of a `schedctl status` process with three apps, from its start to its end; 95th percentile.

    As it is installed, when its modules have been compiled: the first run is not counted.
    """
    took_ms = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with three_apps(folder) as served:
        for _ in range(1 + turns):
            began_s = time.perf_counter()
            command = [sys.executable, "-m", "schedulerd.ctl", "--runtime", str(served.runtime), "status"]
            subprocess.run(command, check=True, timeout=30, stdout=subprocess.DEVNULL, env=environment)
            took_ms.append((time.perf_counter() - began_s) * 1e3)
    del took_ms[0]
    value = statistics.quantiles(took_ms, n=20, method="inclusive")[-1]
    return {"status_ms": Figure(value, "ms", Target("<=", 300), {"took": took_ms})}


if __name__ == "__main__":
    sys.exit(main("operate", FIGURES, measure))
