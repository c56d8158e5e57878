"""A daemon with the demo's three models, each registered by an app: what operators' tools are measured beside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.daemons import daemon
from schedulerd.demo.stock import demo_store
from schedulerd_client import Client, ControlClient


class Served(NamedTuple):
    """It, and where it is."""

    control: ControlClient
    state: Path
    runtime: Path


@contextmanager
def three_apps(folder: Path) -> Iterator[Served]:
    """Below `folder`, until the block ends."""
    state, runtime = folder / "state", folder / "run"
    store = demo_store(state)
    with daemon(store, state, runtime) as control, ExitStack() as apps:
        for model in control.models()["models"]:
            apps.enter_context(Client(runtime)).register(model["model"], budget_ms=100, rate_hz=10)
        yield Served(control, state, runtime)
