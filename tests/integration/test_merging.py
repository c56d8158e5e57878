"""Real blocks and their merged session take turns on a route while requests run on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blockprofiles.record import Row
from schedulerd.clock import SystemClock
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.holdings import Form
from schedulerd.control.switcher import Session, Switcher
from schedulerd.merging.graph import merged_graph
from schedulerd.merging.verdict import Run
from schedulerd.plan import EMPTY_PLAN, App, AppPlan, Route, difference
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.engines.onnx import OnnxEngine
from schedulerd.serving.executor import Executor
from schedulerd.serving.job import Job
from schedulerd.serving.route import LoadedRoute
from tests.control.tables import table_of
from tests.fakes import PATIENCE_S
from tests.profiles import tiny

BLOB_BYTES, SESSION_BYTES = 1000, 3000
SWAPS = 30


class Requests(threading.Thread):
    """Sends one request after the other through an executor, and keeps what came of them."""

    def __init__(self, executor: Executor, app: LiveApp, frame: np.ndarray) -> None:
        super().__init__(daemon=True)
        self._executor, self._app, self._frame = executor, app, frame
        self._more = threading.Condition()
        self.answers: list[np.ndarray] = []
        self.routes: dict[int, LoadedRoute] = {}
        """Those that were run, by identity."""
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            job = Job(self._app, len(self.answers), self._frame, 0.0)
            self._executor.start(job)
            assert job.route is not None
            self.routes[id(job.route)] = job.route
            while not self._executor.step(job):
                pass
            _, (output,) = self._executor.finish(job)
            job.route.pins.release()
            with self._more:
                self.answers.append(output)
                self._more.notify_all()

    def wait_for_more(self) -> None:
        """Until two more requests have ended: one of them began after the call."""
        with self._more:
            wanted = len(self.answers) + 2
            assert self._more.wait_for(lambda: len(self.answers) >= wanted, PATIENCE_S), "requests do not end any more"


@pytest.fixture
def switcher(tmp_path: Path) -> Iterator[Switcher]:
    engine = OnnxEngine()
    made = Switcher(lambda digest, _: engine.load(tmp_path / digest), lambda _: None, SystemClock(), lambda: None)  # type: ignore[arg-type,return-value]  # no heads here
    yield made
    made.close()


def test_no_request_is_lost_or_wrong_while_sessions_come_and_go(switcher: Switcher, tmp_path: Path) -> None:
    """And in the end nothing is pinned, and the memory is given back."""
    body = tiny.convolution(np.random.default_rng(1).standard_normal((4, 4, 3, 3)).astype(np.float32))
    for name, data in {"a": tiny.stem(16), "b": body, "c": tiny.head(16)}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "merged").write_bytes(merged_graph([tmp_path / name for name in "abc"]))
    engine = OnnxEngine()
    catalogue = Catalogue({}, table_of(*(Row(d, "onnxruntime", 1, 1.0, 2.0, BLOB_BYTES) for d in "abc")), "onnxruntime")
    app = LiveApp(App("cam", "m", 50.0, 10.0), b"cam", tiny.FRAME, tiny.LOGITS)
    planned = AppPlan("cam", Route("m", ("a", "b", "c"), ("a", "b", "c")), 3.0, 6.0, 0.9, 3000, 0.1, (1.0,) * 3)
    plan = replace(EMPTY_PLAN, number=1, apps=(planned,))
    switcher.apply(plan, difference(EMPTY_PLAN, plan), {"cam": app}, 10**9, catalogue)
    form = Form("merged", "onnxruntime", 1)

    frame = np.random.default_rng(0).integers(0, 256, (1, *tiny.FRAME.shape), np.uint8)
    requests = Requests(Executor(engine, SystemClock()), app, frame)
    requests.start()
    try:
        for _ in range(SWAPS):
            while not switcher.load_session(form, lambda: engine.load(tmp_path / "merged"), SESSION_BYTES):
                requests.wait_for_more()
            switcher.merge("cam", [Session(Run(0, 3), form)])
            requests.wait_for_more()
            assert switcher.resident_bytes(catalogue.size_bytes) == 3 * BLOB_BYTES + SESSION_BYTES
            switcher.merge("cam", ())
            requests.wait_for_more()
            switcher.tidy(10**9, catalogue.size_bytes)
    finally:
        requests.stopped.set()
        requests.join(PATIENCE_S)

    expected = frame
    for name in "abc":
        expected = engine.load(tmp_path / name).run(expected)
    assert len(requests.answers) >= 4 * SWAPS
    for answer in requests.answers:
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert {len(route.blocks) for route in requests.routes.values()} == {1, 3}
    assert all(route.pins.drained for route in requests.routes.values())
    switcher.tidy(10**9, catalogue.size_bytes)
    assert switcher.resident_bytes(catalogue.size_bytes) == 3 * BLOB_BYTES
    assert switcher.states() == {"live": 3}
