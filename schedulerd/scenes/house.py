"""Everything that is alive while a scene is played, opened in order and closed in the reverse, however it ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from schedulerd import config
from schedulerd.scenes import script
from schedulerd.scenes.board import Board, Use
from schedulerd.scenes.cast import Role, cast
from schedulerd.scenes.groups import MemoryGroup, memory_group
from schedulerd.scenes.listener import Listener, listening
from schedulerd.scenes.memory import PlayedMemory
from schedulerd.scenes.processes import DaemonProcess, Hogs, usage
from schedulerd.scenes.read import configuration
from schedulerd.scenes.script import Scene, SceneFailed
from schedulerd.scenes.sensors import Sensors
from schedulerd.scenes.tracks import Warmth
from schedulerd.scenes.troupe import Troupe, troupe
from schedulerd_client import ControlClient, SchedulerdClientError

READY_TIMEOUT_S: Final = 60.0
"""The profile exists by then; a slow board still has to import and load."""
ANSWER_TIMEOUT_S: Final = 30.0
"""The least that a memory limit can be takes some decisions to find."""
RECORD: Final = "64MB"
"""Of decisions, to be made again afterwards."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a scene is played."""

    store: Path
    state: Path
    """Profiles, which are made where there are none yet, and the daemon's log."""
    frames: str = "noise"
    """What clients stream: `digits` for the demo's store, `noise` for any other."""
    runtime: Path | None = None
    """The sockets; None makes a folder for them and takes it away."""
    roles: tuple[Role, ...] | None = None
    """Who plays; None casts the scene on what this store's models cost."""
    start_use_bytes: float | None = None
    """As `Board` has it."""


@dataclass(frozen=True, slots=True)
class House:
    """What a stage uses."""

    daemon: DaemonProcess
    control: ControlClient
    listener: Listener
    troupe: Troupe
    hogs: Hogs
    board: Board
    roles: Mapping[str, Role]
    cores: int
    ready_s: float
    """From the start of the daemon to its first answer."""


@contextmanager
def opened(scene: Scene, setting: Setting, state: Path, folder: Path) -> Iterator[House]:
    """All of it, for one scene. Args: `state`: the daemon's; `folder`: an empty one, short enough for sockets."""
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        group = stack.enter_context(memory_group()) if script.CGROUP in scene.sensors else None
        by_files = scene.sensors - {script.CGROUP} if group is not None else scene.sensors
        sensors = Sensors(folder, by_files, trip_c=scene.trip_c, cores=cores)
        settings = daemon_settings(scene, sensors)
        runtime = setting.runtime or folder / "run"
        began_s = time.monotonic()
        daemon = stack.enter_context(_daemon(settings, setting, state, runtime, folder, group))
        control = stack.enter_context(ControlClient(runtime, timeout_s=ANSWER_TIMEOUT_S))
        _wait_until_ready(daemon, control, began_s)
        ready_s = time.monotonic() - began_s
        roles = setting.roles or cast(scene.clients, control.models()["models"])
        listener = stack.enter_context(listening(control))
        hogs = Hogs()
        stack.callback(hogs.set, 0)
        memory = PlayedMemory(sensors, group, lambda: usage(daemon.pid)[0])
        limits = config.parse(settings, "the scene's configuration").limits
        warmth = Warmth(scene.per_core_c, scene.heats_up_s)
        board = Board(
            scene.sensors,
            sensors,
            memory,
            limits,
            partial(_use, control),
            lambda: usage(daemon.pid)[1],
            warmth,
            setting.start_use_bytes,
        )
        clients = stack.enter_context(troupe(roles, scene.phases, runtime, setting.frames, daemon))
        yield House(daemon, control, listener, clients, hogs, board, {r.app: r for r in roles}, cores, ready_s)


def log_of(setting: Setting) -> Path:
    """What the daemon of a scene has to say; it stays."""
    return setting.state / "scene-daemon.log"


def daemon_settings(scene: Scene, sensors: Sensors) -> str:
    """The daemon's configuration: the scene's, with decisions kept, and its board where that is played."""
    sections: dict[str, Mapping[str, Any]] = dict(scene.daemon)
    sections["solver"] = {"record": RECORD, **sections.get("solver", {})}
    # The next scene on this state directory begins with what its clients ask for.
    sections["control"] = {"remember": False, **sections.get("control", {})}
    if scene.sensors:
        sections["board"] = sensors.roots()
    return configuration(sections)


@contextmanager
def _daemon(
    settings: str, setting: Setting, state: Path, runtime: Path, folder: Path, group: MemoryGroup | None
) -> Iterator[DaemonProcess]:
    file = folder / "schedulerd.toml"
    file.write_text(settings)
    places: Sequence[Path | str] = ("--store", setting.store, "--state", state, "--runtime", runtime)
    arguments = list(map(str, ("--config", file, *places)))
    daemon = DaemonProcess(arguments, log_of(setting), None if group is None else group.members)
    try:
        yield daemon
    finally:
        code = daemon.stop()
    if code != 0:
        raise SceneFailed(f"the daemon ended with code {code}; see {daemon.log}")


def _wait_until_ready(daemon: DaemonProcess, control: ControlClient, began_s: float) -> None:
    while True:
        daemon.check()
        try:
            control.status()
            return
        except SchedulerdClientError as error:
            if time.monotonic() - began_s > READY_TIMEOUT_S:
                raise SceneFailed(
                    f"the daemon was not ready after {READY_TIMEOUT_S:.0f} s; see {daemon.log}"
                ) from error
            time.sleep(0.05)


def _use(control: ControlClient) -> Use:
    status = control.status()
    return Use(float(status["live_bytes"]), float(status["resident_bytes"]))
