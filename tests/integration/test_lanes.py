"""Lanes that the profile chooses, in a real daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blockprofiles.device import usable_cores
from schedulerd_client import Client
from tests.integration.daemons import Daemon
from tests.profiles import tiny

AUTO = """
[engine]
lanes = "auto"
[profile]
seconds = 1.0
background = false
[log]
format = "json"
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """With a state of its own: it measures with numbers of threads that no other daemon has."""
    for name in ("blobs", "run"):
        (tmp_path / name).mkdir()
    files = tiny.Files(tmp_path / "blobs")
    tiny.stored(tiny.tiny_model(files), files, tmp_path / "store")
    made = Daemon(tmp_path / "store", tmp_path / "state", tmp_path / "run", AUTO)
    yield made
    made.stop()


def test_a_daemon_chooses_its_lanes_serves_and_says_why(daemon: Daemon) -> None:
    """Whatever it chooses on the board at hand, and the same again of the same profile."""
    cores, chosen = usable_cores(), []
    frame = np.arange(64, dtype=np.uint8).reshape(tiny.FRAME.shape)
    for _ in range(2):
        daemon.start()
        with Client(daemon.runtime) as client, daemon.control() as control:
            client.register("tiny", budget_ms=1000, rate_hz=1)
            assert client.infer(frame).outputs.shape == (1, *tiny.LOGITS.shape)
            status = control.status()
        assert daemon.stop() == 0
        lanes, threads = status["lanes"], status["threads_per_lane"]
        assert 1 <= lanes * threads <= cores
        assert f"{lanes} x {threads}: " in status["lanes_reason"]
        chosen.append((lanes, threads, status["lanes_reason"]))
    assert chosen[0] == chosen[1]
    logged = [line for line in daemon.logged().splitlines() if '"lanes_chosen"' in line]
    assert len(logged) == 2
    assert len(list((daemon.runtime.parent / "state" / "profiles").glob("*.json"))) == len(
        {1, max(1, cores // 2), cores}
    )
