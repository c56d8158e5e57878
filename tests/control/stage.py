"""A control loop on a clock that the test moves, with the real optimizer and switcher; what it says is kept."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import pulp

from blockprofiles.record import Row
from blockstore.block import ORIGINAL, Artifact, Block, Model, Variant
from schedulerd.config import Config, ControlConfig, LimitsConfig
from schedulerd.control.announcer import Outlets
from schedulerd.control.aside import Aside, AtOnce
from schedulerd.control.background import Background
from schedulerd.control.board_watch import BoardWatch
from schedulerd.control.catalogue import Catalogue
from schedulerd.control.keeper import Keeper
from schedulerd.control.loader import LOAD_TIMEOUT_S
from schedulerd.control.loop import ControlLoop, LoopSettings
from schedulerd.control.monitor import Monitor
from schedulerd.control.planner import PlannerSettings, Record
from schedulerd.control.prefetcher import Prefetcher
from schedulerd.control.reloads import Configured
from schedulerd.control.sources.base import Source
from schedulerd.control.switcher import Switcher
from schedulerd.errors import SchedulerdError
from schedulerd.optimizer.damping import DampingSettings
from schedulerd.optimizer.problem import MAX_APPS
from schedulerd.optimizer.solvers import Answer as SolverAnswer
from schedulerd.optimizer.solvers import make_solver
from schedulerd.plan import App
from schedulerd.serving.apps import LiveApp, Registry
from schedulerd.serving.defaults import Defaults
from schedulerd.serving.events import Asked, Joined
from schedulerd.serving.meter import Observation
from schedulerd.wire.codec import decode_reply
from schedulerd.wire.envelope import decode_event
from schedulerd.wire.messages import ControlRequest
from tests.control.tables import table_of
from tests.fakes import FakeClock
from tests.serving.parts import FRAME, LOGITS, AddBlock

MB = 1_000_000
LIMITS = LimitsConfig(memory_bytes=100 * MB)


def variant(name: str, digest: str, drop: float) -> Variant:
    return Variant(name, ORIGINAL if name == ORIGINAL else "prune", (Artifact("onnxruntime", digest, 1),), drop, 1, 1)


def block(index: int, name: str, big: str, small: str) -> Block:
    given = FRAME if index == 0 else LOGITS
    return Block(index, name, given, LOGITS, (variant(ORIGINAL, big, 0.0), variant("small", small, 0.02)))


MODEL = Model("m", FRAME, LOGITS, 0.9, 100, (block(0, "first", "A", "a"), block(1, "second", "B", "b")))
# Each block takes 5 ms and 4 MB at full size, 1 ms and 1 MB when small.
ROWS = [Row(d, "onnxruntime", 1, 5.0, 5.0, 4 * MB) for d in "AB"] + [
    Row(d, "onnxruntime", 1, 1.0, 1.0, MB) for d in "ab"
]


class FickleSolver:
    """The real solver, until it has a fault of its own."""

    def __init__(self) -> None:
        self._real = make_solver("highs", 5.0)
        self.time_limit_s = self._real.time_limit_s
        self.broken = False
        self.limits_s: list[float] = []
        """That it was given, run by run."""

    def run(self, program: pulp.LpProblem, time_limit_s: float, *, feasible: bool) -> SolverAnswer:
        if self.broken:
            raise ZeroDivisionError
        self.limits_s.append(time_limit_s)
        return self._real.run(program, time_limit_s, feasible=feasible)


class Stage:
    """A control loop whose answers, replies and events are kept."""

    def __init__(
        self,
        model: Model = MODEL,
        rows: Sequence[Row] = ROWS,
        sources: Sequence[Source] = (),
        record: Record | None = None,
        aside: Aside | None = None,
        *,
        prefetch: bool = False,
        limits: LimitsConfig = LIMITS,
        board: BoardWatch | None = None,
        clock: FakeClock | None = None,
        decide_within_s: float = math.inf,
        keeper: Keeper | None = None,
        defaults: Defaults = Defaults(),  # noqa: B008 - frozen, so sharing the default is safe
    ) -> None:
        self.clock = clock or FakeClock()
        self.registry = Registry(MAX_APPS)
        self.solver = FickleSolver()
        self.damaged: set[str] = set()
        self.stuck = False
        self.freed = threading.Event()
        self.switcher = Switcher(
            lambda digest, _: self._load(digest), self._load, self.clock, lambda: self.clock.advance(LOAD_TIMEOUT_S)
        )
        self.config = Config(limits=limits, control=ControlConfig(decide_within_s=10.0))
        self.rereads: list[Asked] = []
        """Who asked for the configuration to be read again."""
        self.reconfigured: list[tuple[Config, Config]] = []
        self.reloaded: list[SchedulerdError | None] = []
        self.answers: list[Any] = []
        self.replies: list[tuple[bytes, Any]] = []
        self.events: list[Any] = []
        self.loop = ControlLoop(
            Catalogue({"m": model}, table_of(*rows), "onnxruntime"),
            self.registry,
            self.switcher,
            Monitor(sources, self.clock),
            self.solver,
            LoopSettings(PlannerSettings(limits, lanes=1, damping=DampingSettings(), decide_within_s=decide_within_s)),
            Outlets(
                answer=lambda identity, frames: self.answers.append(decode_reply(frames)[0]),
                reply=lambda identity, frames: self.replies.append((identity, decode_reply(frames)[0])),
                publish=lambda frames: self.events.append(decode_event(frames)),
                wake=lambda: None,
            ),
            self.clock,
            configured=Configured(
                self.config,
                self.rereads.append,
                lambda before, after: self.reconfigured.append((before, after)),
                self.reloaded.append,
            ),
            facts={"version": "0", "pid": 1, "engine": "none", "lanes": 1, "started_s": self.clock.now_s()},
            background=self._background(aside or AtOnce()) if prefetch else None,
            record=record,
            aside=aside,
            board=board,
            keeper=keeper,
            defaults=lambda: defaults,
        )

    def _background(self, aside: Aside) -> Background:
        return Background(None, None, Prefetcher(self.switcher, self.solver, aside, self.clock))

    def _load(self, digest: str) -> Any:
        if digest in self.damaged:
            raise ValueError("bad magic")
        if self.stuck:
            self.freed.wait(30)
        return AddBlock()

    def live(self, name: str = "cam", budget_ms: float = 50.0, identity: str = "", **wishes: Any) -> LiveApp:
        spec = App(name, "m", budget_ms, **{"rate_hz": 10.0, **wishes})
        app = LiveApp(spec, (identity or name).encode(), FRAME, LOGITS)
        self.registry.add(app)
        return app

    def join(self, name: str = "cam", budget_ms: float = 50.0, **wishes: Any) -> LiveApp:
        app = self.live(name, budget_ms, **wishes)
        self.loop.turn([Joined(app, 7)])
        return app

    def ask(self, request: ControlRequest) -> Any:
        self.loop.turn([Asked(request, b"operator")])
        return self.answers[-1]

    def frames(self, app: LiveApp, run_ms: float, count: int = 20) -> None:
        """`count` answered requests that took `run_ms` inside the blocks, during the last moments."""
        for _ in range(count):
            self.clock.advance(0.01)
            self.frame(app, run_ms)

    def frame(self, app: LiveApp, run_ms: float) -> None:
        """A request that is answered now and took `run_ms` inside the blocks, each as slow as the others."""
        assert app.route is not None
        expected = app.route.expected
        whole_ms = sum(b.median_ms for b in expected)
        blocks_ms = tuple(run_ms * b.median_ms / whole_ms for b in expected)
        met = run_ms <= app.spec.budget_ms
        app.meter.add(Observation(self.clock.now_s(), run_ms, run_ms, met, blocks_ms, expected, app.route.plan))

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]
