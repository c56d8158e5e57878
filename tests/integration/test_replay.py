"""Decisions of a real daemon, recorded until it is killed, and made again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from schedulerd_client import Client
from tests.integration.daemons import CONFIG, Daemon

RECORDING = f'{CONFIG}\n[solver]\nrecord = "1MB"\n'


def test_what_a_killed_daemon_decided_is_decided_again_elsewhere(
    store: Path, state: Path, make_daemon: Callable[..., Daemon]
) -> None:
    file = state / "decisions.jsonl"
    daemon = make_daemon(store, config=RECORDING)
    daemon.start()
    with Client(daemon.runtime) as client, daemon.control() as control:
        client.register("digits-residual", app="cam", budget_ms=1000, rate_hz=10)
        control.set_budget("cam", 500)
        daemon.kill()
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "schedulerd", "replay", str(file), "--json", "--time-limit", "20"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        file.unlink()
    assert ended.returncode == 0, ended.stderr
    decisions = json.loads(ended.stdout)["decisions"]
    assert len(decisions) >= 2
    assert {decision["verdict"] for decision in decisions} <= {"same", "equal"}
