"""Play the scene: start the daemon and its clients, turn the board about, watch, and say how it went."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from schedulerd.demo.cast import Role, cast
from schedulerd.demo.processes import ClientProcess, DaemonProcess, DemoFailed, profile
from schedulerd.demo.record import AppRecord, Turn
from schedulerd.demo.scene import Phase, Scene
from schedulerd.demo.view import View
from schedulerd_client import ControlClient, SchedulerdClientError

READY_TIMEOUT_S = 60.0
"""The profile exists by then; a slow board still has to import and load."""
JOIN_TIMEOUT_S = 30.0
LOOK_S = 0.25


class Story:
    """What a played scene leaves behind."""

    def __init__(self) -> None:
        self.records: tuple[AppRecord, ...] = ()
        self.turns: list[Turn] = []
        self.end_s = 0.0
        self.ready_s = 0.0
        """From the start of the daemon to its first answer."""
        self.status: dict[str, Any] = {}


def play(store: Path, state: Path, seconds: float, view: View) -> Story:
    """Run the whole demo for about `seconds`; raises `DemoFailed` when a process does not do its part."""
    story = Story()
    profile(store, state)
    with ExitStack() as stack:
        runtime = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="schedulerd-demo-")))
        daemon, control = stack.enter_context(_daemon(store, state, runtime, story))
        roles = cast(control.models()["models"])
        if not roles:
            raise DemoFailed(f"the store {store} has no models; `make demo-store` builds them")
        clients = stack.enter_context(_clients(roles, runtime, daemon))
        scene = Scene(roles, runtime)
        stack.callback(scene.close)
        phases = scene.phases()
        for phase in phases:
            _play_phase(phase, seconds / len(phases), story, view, daemon, clients, control)
        story.end_s = time.monotonic()
        story.status = control.status()
        story.records = tuple(client.stop() for client in clients)
    return story


def _play_phase(
    phase: Phase,
    seconds: float,
    story: Story,
    view: View,
    daemon: DaemonProcess,
    clients: Sequence[ClientProcess],
    control: ControlClient,
) -> None:
    turn = Turn(phase.name, time.monotonic(), phase.what)
    view.turn(turn)
    plan_before = control.plan()["number"]
    answers = phase.act()
    if answers:
        view.turn(replace(turn, answers=answers))
    said_plan = control.plan()["number"] if answers else plan_before
    while time.monotonic() < turn.at_s + seconds:
        daemon.check()
        for client in clients:
            client.check()
        plan = control.plan()
        if plan["number"] > said_plan:
            # schedulerd acted by itself: the board, not the operator, was the cause.
            said_plan = plan["number"]
            answers = (*answers, plan["sentence"])
            view.turn(replace(turn, answers=(plan["sentence"],)))
        view.show({c.role.app: c.samples for c in clients}, control.apps()["apps"], control.status())
        time.sleep(LOOK_S)
    story.turns.append(replace(turn, answers=answers))


@contextmanager
def _daemon(store: Path, state: Path, runtime: Path, story: Story) -> Iterator[tuple[DaemonProcess, ControlClient]]:
    began_s = time.monotonic()
    arguments = ["--store", str(store), "--state", str(state), "--runtime", str(runtime)]
    daemon = DaemonProcess(arguments, state / "demo-daemon.log")
    try:
        with ControlClient(runtime, timeout_s=5.0) as control:
            _wait_until_ready(daemon, control, began_s)
            story.ready_s = time.monotonic() - began_s
            yield daemon, control
    finally:
        code = daemon.stop()
    if code != 0:
        raise DemoFailed(f"the daemon ended with code {code}; see {daemon.log}")


def _wait_until_ready(daemon: DaemonProcess, control: ControlClient, began_s: float) -> None:
    while True:
        daemon.check()
        try:
            control.status()
            return
        except SchedulerdClientError as error:
            if time.monotonic() - began_s > READY_TIMEOUT_S:
                raise DemoFailed(f"the daemon was not ready after {READY_TIMEOUT_S:.0f} s; see {daemon.log}") from error
            time.sleep(0.05)


@contextmanager
def _clients(roles: Sequence[Role], runtime: Path, daemon: DaemonProcess) -> Iterator[list[ClientProcess]]:
    clients: list[ClientProcess] = []
    try:
        # Not a comprehension: those that did start must be stopped when a later one does not.
        for role in roles:
            clients.append(ClientProcess(role, runtime))  # noqa: PERF401
        for client in clients:
            if not client.registered.wait(JOIN_TIMEOUT_S):
                daemon.check()
                client.check()
                raise DemoFailed(f"{client.role.app} was not registered within {JOIN_TIMEOUT_S:.0f} s")
        yield clients
    finally:
        for client in clients:
            client.stop()
