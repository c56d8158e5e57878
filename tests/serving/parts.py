"""Small real values for the tests of the request path: apps, routes, and blocks that add a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from blockstore.assembly import LoadedHead
from blockstore.block import TensorSpec
from blockstore.exits import ANY_UPSTREAM, FINAL, Curve, CurvePoint, ExitPolicy
from schedulerd.plan import App, Route
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.job import Job
from schedulerd.serving.route import Expected, ExpectedBlock, LoadedExit, LoadedRoute, RouteExits

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


class SureHead:
    """A `LoadedHead` that is as sure as told, and gives the sum of its tensors plus `amount`; it counts its runs."""

    def __init__(self, confidence: float = 1.0, amount: float = 0.0, watch: Callable[[], None] = lambda: None) -> None:
        self._confidence = confidence
        self._amount = amount
        self._watch = watch
        self.taken: list[list[Any]] = []
        """The tensors of each run."""

    def run(self, tensors: Sequence[Any]) -> tuple[Any, float]:
        self._watch()
        self.taken.append(list(tensors))
        return sum(tensors) + np.float32(self._amount), self._confidence


class BrokenBlock:
    """A `LoadedBlock` that always fails."""

    def run(self, tensor: Any) -> Any:
        raise RuntimeError("no such kernel")


class BrokenHead:
    """A `LoadedHead` that always fails."""

    def run(self, tensors: Sequence[Any]) -> tuple[Any, float]:
        raise RuntimeError("no such kernel")


class NumpyEngine:
    """An `Engine` whose tensors are arrays; its blocks are made by the tests."""

    name = "onnxruntime"
    threads = 1

    def version(self) -> str:
        return "0"

    def load(self, path: Any) -> Any:
        raise AssertionError("these tests bring their own blocks")

    def load_apart(self, path: Any) -> Any:
        return self.load(path)

    def load_head(self, path: Any) -> Any:
        raise AssertionError("these tests bring their own heads")

    def feed(self, array: Any) -> Any:
        return array.astype(np.float32)

    def fetch(self, tensor: Any) -> Any:
        return tensor

    def join(self, tensors: Sequence[Any]) -> Any:
        return np.concatenate(tensors)


def expected_of(blocks: int) -> Expected:
    """Of blocks that take 1 ms each, whatever ran before them."""
    return tuple(ExpectedBlock(n, (f"r{n}",), "onnxruntime", 1.0, 1.0, 1.0) for n in range(blocks))


def route_of(*blocks: Any, plan: int = 1, name: str = "r", expected: Expected | None = None) -> LoadedRoute:
    names = tuple(f"{name}{n}" for n in range(len(blocks)))
    expected = expected_of(len(blocks)) if expected is None else expected
    return LoadedRoute(Route("m", names, names), blocks, plan, accuracy=0.9, expected=expected)


CURVE = Curve(ANY_UPSTREAM, (CurvePoint(0.0, 1.0, 0.6, 1.0), CurvePoint(0.5, 0.5, 0.9, 0.8)))
"""Of a frame that is less sure than 0.5 the accuracy is 0.3, of one that is surer 0.9."""


def exit_of(
    block: int,
    head: LoadedHead,
    threshold: float | None = 0.5,
    *,
    inputs: tuple[int, ...] = (),
    onward_ms: float = 0.0,
) -> LoadedExit:
    """The exit `exit1` after block 0, `exit2` after block 1 and so on."""
    return LoadedExit(f"exit{block + 1}", block, inputs or (block,), head, threshold, CURVE, onward_s=onward_ms * 1e-3)


def route_with(*exits: LoadedExit, blocks: Sequence[Any], plan: int = 1) -> LoadedRoute:
    """A route whose policy is that of the exits' thresholds; it caps the depth where an exit stands at the end."""
    capped = exits[-1].block == len(blocks) - 1
    steps = tuple((e.name, e.threshold) for e in exits if e.threshold is not None)
    policy = ExitPolicy("test", steps if capped else (*steps, (FINAL, 0.0)))
    names = tuple(f"r{n}" for n in range(len(blocks)))
    return LoadedRoute(
        Route("m", names, names, policy, tuple(f"head{e.block}" for e in exits)),
        tuple(blocks),
        plan,
        accuracy=0.95,
        expected=expected_of(len(blocks)),
        exits=RouteExits.of(exits, len(blocks)),
    )


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


def job_for(app: LiveApp, arrived_s: float = 0.0, message_id: int = 1, asked: tuple[str, ...] = ()) -> Job:
    return Job(app, message_id, np.zeros((1, *FRAME.shape), np.uint8), arrived_s, asked)
