"""Scene files: what they say, and what is said of those that say it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.scenes import library
from schedulerd.scenes.read import SceneError, load, parse
from schedulerd.scenes.script import Budget, Cue, Hogs, Limit, Ramp, scaled

HEAD = 'title = "t"\n[[client]]\napp = "gate"\nmodel = 1\n[[client]]\napp = "guest"\nmodel = "m"\njoins = false\n'
PHASE = '[[phase]]\nname = "one"\nseconds = 10\n'


def doing(actions: str) -> str:
    return f"{HEAD}{PHASE}do = [{actions}]\n"


def test_a_scene_is_read_whole() -> None:
    text = doing(
        '{ action = "limit", memory = "8MB", at_s = 5 }, { action = "hogs", per_core = 2, matters = false },'
        '{ action = "budget", app = "gate", budget_ms = 20, at_s = 1 },'
        '{ action = "ramp", what = "cgroup", from = 1.5, to = 0.6, over_s = 4, at_s = 6, matters = 1 }'
    )
    scene = parse(text + "[daemon.limits]\nmemory_share = 1.0\n", "file")
    assert (scene.title, scene.store, scene.seconds) == ("t", "demo", 10.0)
    assert [(client.app, client.model, client.joins) for client in scene.clients] == [
        ("gate", 1, True),
        ("guest", "m", False),
    ]
    assert scene.phases[0].cues == (
        Cue(0.0, Hogs(per_core=2.0, matters=False)),
        Cue(1.0, Budget("gate", 20.0)),
        Cue(5.0, Limit(8_000_000)),
        Cue(6.0, Ramp("cgroup", 0.6, 1.5, 4.0, 1.0)),
    )
    assert scene.sensors == {"cgroup"}
    assert scene.daemon == {"limits": {"memory_share": 1.0}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = ", "is not TOML"),
        (HEAD, r"needs at least one \[\[phase\]\]"),
        (f'title = "t"\n{PHASE}', r"needs at least one \[\[client\]\]"),
        (f"titel = 1\n{HEAD}{PHASE}", "unknown key 'titel'; did you mean \"title\"?"),
        (HEAD.replace("model = 1", "model = 0") + PHASE, "model: 0 is not a model's name, or its place"),
        (HEAD.replace("model = 1\n", "", 1) + PHASE, r"\[\[client\]\] 1: model is missing; it is a model's name"),
        (HEAD + HEAD.replace('title = "t"', "") + PHASE, "'gate' is given 2 times"),
        (HEAD + PHASE + PHASE, "'one' is given 2 times"),
        (HEAD + "budget_ms = 5\nbudget_over_lossless = 2\n" + PHASE, "budget_ms or budget_over_lossless, not both"),
        (HEAD + 'late = "dorp"\n' + PHASE, 'late: .dorp. is not one of "run", "drop", "exit"; did you mean "drop"?'),
        (HEAD + PHASE.replace("10", "0"), r"\[\[phase\]\] 1: seconds: 0 is out of range: it takes a number from 0.1"),
        (doing('{ action = "hgos" }'), "action is 'hgos'; it is one of budget, join, .* did you mean \"hogs\"?"),
        (doing('{ action = "hogs", cuont = 1 }'), 'unknown key .cuont.; did you mean "count"?'),
        (doing('{ action = "hogs", count = 1, per_core = 1 }'), "count or per_core, not both"),
        (doing('{ action = "hogs", at_s = 10 }'), "at_s is 10, and the phase lasts 10 s"),
        (doing('{ action = "budget", app = "gaet" }'), 'there is no client .gaet.; did you mean "gate"?'),
        (doing('{ action = "join", app = "gate" }'), "gate is there already"),
        (doing('{ action = "leave", app = "guest" }'), "guest is not there"),
        (
            doing('{ action = "leave", app = "gate" }, { action = "budget", app = "gate", at_s = 1 }'),
            "gate is not there",
        ),
        (doing('{ action = "ramp", what = "heat", to = 1 }'), "what: 'heat' is not one of \"temperature\""),
        (
            doing('{ action = "ramp", what = "clock", to = 1.5 }'),
            "to: 1.5 is out of range: it takes a number from 0.01 to 1",
        ),
        (
            doing('{ action = "ramp", what = "clock", to = 1, over_s = 8, at_s = 5 }'),
            "over_s is 8, and 5 s of the phase",
        ),
        (HEAD + PHASE + 'steady = true\ndo = [{ action = "hogs" }]\n', "one is steady, so nothing may be done in it"),
        (HEAD + PHASE + "do = 3\n", "do is a list of actions"),
        (HEAD + PHASE + "[daemon.limits]\nmemory_shar = 1\n", 'has no key .memory_shar.; did you mean "memory_share"?'),
        (HEAD + PHASE + '[daemon.paths]\nstate = "/x"\n', r"\[daemon.paths\] is set by the player"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(text: str, said: str) -> None:
    with pytest.raises(SceneError, match=said) as refused:
        parse(text, "file.toml")
    assert "file.toml" in str(refused.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    with pytest.raises(SceneError, match="is not UTF-8"):
        load(tmp_path / "latin.toml")


def test_half_as_long_a_scene_does_the_same_twice_as_fast() -> None:
    text = doing('{ action = "ramp", what = "clock", to = 0.5, over_s = 4, at_s = 6 }, { action = "hogs", at_s = 2 }')
    half = scaled(parse(text, "file"), 0.5)
    assert half.seconds == 5.0
    assert half.phases[0].cues == (Cue(1.0, Hogs()), Cue(3.0, Ramp("clock", 0.5, None, 2.0)))


@pytest.mark.parametrize("name", library.names())
def test_shipped_scenes_can_be_played(name: str) -> None:
    scene = library.find(name)
    assert scene.store == "demo"
    assert len([client for client in scene.clients if client.joins]) == 3
    assert scene.seconds >= 20


def test_every_scene_that_was_promised_is_shipped() -> None:
    promised = {"calm", "cpu-hogs", "memory-squeeze", "heat-ramp", "app-churn", "budget-storm", "demo"}
    assert promised <= set(library.names())


def test_a_name_that_is_no_scene_is_answered_with_the_nearest() -> None:
    with pytest.raises(SceneError, match='did you mean "heat-ramp"') as refused:
        library.find("heat-rmap")
    assert "budget-storm" in str(refused.value)
