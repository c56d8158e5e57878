"""Small real values for the tests of the request path: apps, routes, and blocks that add a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from blockstore.block import TensorSpec
from schedulerd.plan import App, Route
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.job import Job
from schedulerd.serving.route import LoadedRoute

FRAME = TensorSpec("uint8", (2, 2, 1))
LOGITS = TensorSpec("float32", (2, 2, 1))


class AddBlock:
    """A `LoadedBlock` that adds `amount`, after telling `watch` that it runs."""

    def __init__(self, amount: float = 1.0, watch: Callable[[], None] = lambda: None) -> None:
        self._amount = amount
        self._watch = watch

    def run(self, tensor: Any) -> Any:
        self._watch()
        return tensor + np.float32(self._amount)


class FlatBlock:
    """A `LoadedBlock` that gives each frame's elements, numbered, as one row."""

    def run(self, tensor: Any) -> Any:
        return np.arange(tensor.size, dtype=np.float32).reshape(len(tensor), -1)


class BrokenBlock:
    """A `LoadedBlock` that always fails."""

    def run(self, tensor: Any) -> Any:
        raise RuntimeError("no such kernel")


class NumpyEngine:
    """An `Engine` whose tensors are arrays; its blocks are made by the tests."""

    name = "onnxruntime"

    def version(self) -> str:
        return "0"

    def load(self, path: Any) -> Any:
        raise AssertionError("these tests bring their own blocks")

    def feed(self, array: Any) -> Any:
        return array.astype(np.float32)

    def fetch(self, tensor: Any) -> Any:
        return tensor


def route_of(*blocks: Any, plan: int = 1, name: str = "r") -> LoadedRoute:
    names = tuple(f"{name}{n}" for n in range(len(blocks)))
    return LoadedRoute(Route("m", names, names), blocks, plan, accuracy=0.9, expected_p95_ms=1.0)


def live_app(
    name: str = "cam",
    budget_ms: float = 50.0,
    priority: int = 5,
    late: str = "run",
    route: LoadedRoute | None = None,
    outputs: tuple[TensorSpec, ...] = (),
) -> LiveApp:
    spec = App(name, "m", budget_ms=budget_ms, rate_hz=10.0, priority=priority, late=late)
    app = LiveApp(spec, name.encode(), FRAME, LOGITS, outputs)
    app.route = route or route_of(AddBlock(), AddBlock())
    return app


def job_for(app: LiveApp, arrived_s: float = 0.0, message_id: int = 1) -> Job:
    return Job(app, message_id, np.zeros((1, *FRAME.shape), np.uint8), arrived_s)
