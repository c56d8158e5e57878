"""The demo from its command line: the real daemon, three client processes, the whole scene in a few seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_scene_is_played_and_nothing_is_lost(tmp_path: Path, own_state: Path) -> None:
    told, picture = tmp_path / "demo.json", tmp_path / "demo.png"
    command = [sys.executable, "-m", "schedulerd", "demo", "--headless", "--seconds", "8", "--state", str(own_state)]
    done = subprocess.run(
        [*command, "--json", str(told), "--plot", str(picture)], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    happened = json.loads(told.read_text())
    assert happened["lost"] == 0
    assert happened["requests"] > 30
    assert happened["swaps"] > 0
    assert [phase["name"] for phase in happened["phases"]] == [
        "calm",
        "budget halved",
        "CPU hog",
        "memory cut",
        "calm again",
    ]
    for phase in happened["phases"]:
        assert set(phase["apps"]) == {"gate", "plates", "shelf"}
        for app in phase["apps"].values():
            # In a second and a half on a busy machine an app may have had no answer.
            if app["served_p50_ms"] is not None:
                assert 0 < app["served_p50_ms"] <= app["served_p95_ms"]
                assert 0.5 < app["accuracy"] <= 1.0
    for name in ("gate", "plates", "shelf"):
        assert sum(phase["apps"][name]["served_p50_ms"] is not None for phase in happened["phases"]) >= 3
    # One of the networks has exits; a busy machine answers so few frames that in some phase all run to the end.
    rates = [shares for phase in happened["phases"] if (shares := phase["apps"]["plates"]["exit_rates"])]
    assert rates
    for shares in rates:
        assert sum(shares.values()) == pytest.approx(1.0)
        assert shares["final"] < 1.0
    edited = happened["phases"][1]
    assert any("budget" in sentence for sentence in edited["did"])
    (cut,) = (said for said in happened["phases"][3]["did"] if "memory limit set to" in said)
    assert " over its limit of" not in cut
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "0 lost" in done.stdout
