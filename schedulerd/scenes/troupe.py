"""All clients of a scene: who is there from the beginning, and who comes and goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from schedulerd.scenes.cast import Role
from schedulerd.scenes.processes import ClientProcess, DaemonProcess
from schedulerd.scenes.record import AppRecord, Sample
from schedulerd.scenes.script import Join, Phase, SceneFailed

JOIN_TIMEOUT_S: Final = 30.0
_LOOK_S: Final = 0.2


class Troupe:
    """The processes of all clients, started beforehand, so that one that joins does so at once."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon
        self._waiting: list[ClientProcess] = []
        self._there: dict[str, ClientProcess] = {}
        self._gone: list[ClientProcess] = []

    def add(self, client: ClientProcess) -> None:
        """A client that will join."""
        self._waiting.append(client)

    def begin(self) -> None:
        """All are ready, and those who are there from the beginning have joined."""
        for client in tuple(self._waiting):
            self._await(client, client.ready, "was not ready")
        for role in [client.role for client in self._waiting if client.role.joins]:
            if role.app not in self._there:
                self.join(role.app)
        for client in self._there.values():
            self._await(client, client.registered, "was not registered")

    def join(self, app: str) -> None:
        """A client joins, without waiting for its route."""
        client = next(client for client in self._waiting if client.role.app == app)
        self._waiting.remove(client)
        self._there[app] = client
        client.join()

    def leave(self, app: str) -> None:
        """A client leaves."""
        client = self._there.pop(app)
        client.leave()
        self._gone.append(client)

    def check(self) -> None:
        """Raises `SceneFailed` when one has ended by itself."""
        for client in (*self._waiting, *self._there.values()):
            client.check()

    def samples(self) -> dict[str, tuple[Sample, ...]]:
        """Of those who are there, so far."""
        return {app: client.samples for app, client in self._there.items()}

    def stop(self) -> tuple[AppRecord, ...]:
        """End them all; what was seen of every app, in order of first appearance."""
        clients = [*self._gone, *self._there.values(), *self._waiting]
        for client in clients:
            client.leave()
        return by_app([client.stop() for client in clients])

    def _await(self, client: ClientProcess, event: threading.Event, what: str) -> None:
        for _ in range(round(JOIN_TIMEOUT_S / _LOOK_S)):
            if event.wait(_LOOK_S):
                return
            self._daemon.check()
            client.check()
        raise SceneFailed(f"{client.role.app} {what} within {JOIN_TIMEOUT_S:g} s")


@contextmanager
def troupe(
    roles: Sequence[Role], phases: Sequence[Phase], runtime: Path, frames: str, daemon: DaemonProcess
) -> Iterator[Troupe]:
    """The clients of a scene, those who are there from the beginning joined; all are ended with the block."""
    made = Troupe(daemon)
    try:
        for role in appearances(roles, phases):
            made.add(ClientProcess(role, runtime, frames))
        made.begin()
        yield made
    finally:
        made.stop()


def appearances(roles: Sequence[Role], phases: Sequence[Phase]) -> list[Role]:
    """One for each time that somebody joins, in order."""
    by_app = {role.app: role for role in roles}
    joins = [cue.action.app for phase in phases for cue in phase.cues if isinstance(cue.action, Join)]
    later = [replace(by_app[app], joins=False) for app in joins]
    return [*(role for role in roles if role.joins), *later]


def by_app(records: Sequence[AppRecord]) -> tuple[AppRecord, ...]:
    """One record an app, whose client may have come and gone several times."""
    found: dict[str, AppRecord] = {}
    for record in records:
        before = found.get(record.app)
        found[record.app] = record if before is None else _joined(before, record)
    return tuple(found.values())


def _joined(first: AppRecord, second: AppRecord) -> AppRecord:
    return replace(
        first,
        samples=tuple(sorted((*first.samples, *second.samples), key=lambda sample: sample.at_s)),
        sent=first.sent + second.sent,
        answered=first.answered + second.answered,
        errors=(*first.errors, *second.errors),
        ended=first.ended and second.ended,
    )
