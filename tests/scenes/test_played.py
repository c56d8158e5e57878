"""A short scene from the command line: a real daemon, real clients, a real hog, real small networks, a played limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCENE = """
title = "a bit of everything"
[[client]]
app = "gate"
model = 1
most_hz = 10
[[client]]
app = "guest"
model = 2
most_hz = 10
joins = false
[[phase]]
name = "calm"
seconds = 2
[[phase]]
name = "busy"
seconds = 4
do = [
    { action = "join", app = "guest" },
    { action = "hogs", count = 1 },
    { action = "budget", app = "gate", times = 0.8, at_s = 0.5 },
    { action = "ramp", what = "memory", from = 1.5, to = 0.9, over_s = 1, at_s = 1 },
    { action = "leave", app = "guest", at_s = 3 },
]
"""


def scene(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "schedulerd", "scene", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def test_a_scene_is_played_and_nothing_of_it_is_left(tmp_path: Path, own_state: Path) -> None:
    file, told, picture = (tmp_path / name for name in ("scene.toml", "told.json", "told.png"))
    file.write_text(SCENE)
    done = scene(file, "--state", own_state, "--json", told, "--plot", picture)
    assert done.returncode == 0, done.stderr
    happened = json.loads(told.read_text())
    assert [phase["name"] for phase in happened["phases"]] == ["calm", "busy"]
    assert happened["lost"] == 0
    assert {app for app, rows in happened["requests"].items() if rows} == {"gate", "guest"}
    assert any("budget of gate" in sentence for sentence in happened["phases"][1]["did"])
    assert any("guest joins" in plan["cause"] for plan in happened["plans"])
    assert len(happened["deeds"]) == 5
    assert happened["start_use_bytes"] > 0
    played = [reading["played"]["memory"] for reading in happened["readings"]]
    assert played[0] == 2.0
    assert played[-1] == pytest.approx(0.9)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "busy: guest joins; 1 CPU hog" in done.stdout
    # What the daemon saw was played, so that nothing of it is kept.
    assert not list(own_state.glob("decisions*"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["heat-rmap"], 1, 'did you mean "heat-ramp"?'),
        ([], 1, "say which scene: a file, or one of app-churn"),
        (["calm", "--seconds-scale", "0"], 2, "0 is out of range; give 0.01 to 100"),
    ],
)
def test_what_cannot_be_played_is_refused(arguments: list[str], code: int, said: str) -> None:
    done = scene(*arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_with_a_mistake_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "scene.toml"
    file.write_text(SCENE.replace('what = "memory"', 'what = "memroy"'))
    done = scene(file, "--state", tmp_path / "state")
    assert done.returncode == 1
    assert f"{file}: [[phase]] 2 (busy), action 4: what" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_store_that_is_not_there_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scene.toml"
    file.write_text(f'store = "{tmp_path}/none"\n{SCENE}')
    done = scene(file)
    assert done.returncode == 1
    assert "there is no such directory" in done.stderr


def test_shipped_scenes_are_listed() -> None:
    done = scene("--list")
    assert done.returncode == 0
    assert "memory-squeeze" in done.stdout
