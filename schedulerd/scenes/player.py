"""Play a scene: open the house, run the timeline, close it, and look back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from schedulerd.clock import Clock, SystemClock
from schedulerd.control.recorder import FILE_NAME, read_records
from schedulerd.optimizer.solvers import make_solver
from schedulerd.scenes import timeline
from schedulerd.scenes.figures import marks
from schedulerd.scenes.hindsight import Decided, best_plans
from schedulerd.scenes.house import House, Setting, log_of, opened
from schedulerd.scenes.processes import profile
from schedulerd.scenes.record import Story
from schedulerd.scenes.script import Scene, SceneFailed
from schedulerd.scenes.stage import LiveStage
from schedulerd.scenes.view import View
from schedulerd_client import SchedulerdClientError

HINDSIGHT_S: Final = 2.0
"""For one decision made again."""
_KNOWN_OF_THE_BOARD: Final = ("profiles", "merged")
"""Folders of a state directory that a daemon plans with."""


def play(scene: Scene, setting: Setting, view: View) -> Story:
    """The whole scene; raises `SceneFailed` when a process does not do its part."""
    profile(setting.store, setting.state)
    try:
        return _played(scene, setting, view, SystemClock())
    except SchedulerdClientError as error:
        raise SceneFailed(f"the daemon did not answer the player: {error}; see {log_of(setting)}") from error


def _played(scene: Scene, setting: Setting, view: View, clock: Clock) -> Story:
    with tempfile.TemporaryDirectory(prefix="schedulerd-scene-") as name:
        folder = Path(name)
        state = _state(scene, setting, folder)
        decisions = state / FILE_NAME
        decisions.unlink(missing_ok=True)
        try:
            with opened(scene, setting, state, folder) as house:
                stage = LiveStage(house, view, clock)
                timeline.play(scene.phases, stage, clock)
                story = _story(scene, stage, house, clock)
            solver = make_solver("highs", HINDSIGHT_S)
            return replace(story, best=best_plans(_decided(decisions, clock), marks(story), solver))
        finally:
            decisions.unlink(missing_ok=True)


def _state(scene: Scene, setting: Setting, folder: Path) -> Path:
    """The daemon's state directory: a copy where sensors are played, or it would learn from what was not."""
    if not scene.sensors:
        return setting.state
    state = folder / "state"
    state.mkdir()
    for name in _KNOWN_OF_THE_BOARD:
        if (setting.state / name).is_dir():
            shutil.copytree(setting.state / name, state / name)
    return state


def _story(scene: Scene, stage: LiveStage, house: House, clock: Clock) -> Story:
    end_s = clock.now_s()
    status = house.control.status()
    return Story(
        title=scene.title,
        records=house.troupe.stop(),
        roles=tuple(house.roles.values()),
        turns=tuple(stage.turns),
        deeds=tuple(stage.deeds),
        plans=tuple(stage.plans),
        readings=tuple(stage.readings),
        best=(),
        end_s=end_s,
        ready_s=house.ready_s,
        status=status,
        start_use_bytes=house.board.start_use_bytes,
        out_of_memory=house.board.out_of_memory,
    )


def _decided(path: Path, clock: Clock) -> Iterator[Decided]:
    """What the daemon recorded, by the clock that everything else here goes by."""
    if path.exists():
        ahead_s = clock.wall_s() - clock.now_s()
        for one in read_records(path):
            yield Decided(one.at_s - ahead_s, one.problem)
