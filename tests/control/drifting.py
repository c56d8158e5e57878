"""A board in virtual time: apps whose requests take what a test says, watched as the control loop does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from blockprofiles.contention import Contention
from schedulerd.control.correction import CorrectionSettings
from schedulerd.control.drift_watch import DriftWatch
from schedulerd.control.factors import Factors
from schedulerd.plan import EMPTY_PLAN
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.meter import Observation
from schedulerd.serving.route import Expected, ExpectedBlock
from tests.serving.parts import AddBlock, live_app, route_of

TICK_S = 0.2
BEGIN_S = 1000.0

Times = Callable[[float], Sequence[float]]
"""When, in seconds from the beginning -> time of each block in ms."""


def expected_blocks(count: int, name: str = "", median_ms: float = 1.0) -> Expected:
    """Blocks whose 95th percentile is a fifth above the median, and a tenth of it the coldness of caches."""
    return tuple(
        ExpectedBlock(n, (f"{name}{n}",), "onnxruntime", median_ms, 1.1 * median_ms, 1.2 * median_ms)
        for n in range(count)
    )


@dataclass
class Source:
    """An app that sends frames at a rate."""

    app: LiveApp
    rate_hz: float
    times: Times
    sent: int = 0

    def send(self, until_s: float) -> None:
        """All requests until then, seconds from the beginning."""
        assert self.app.route is not None
        while (at_s := (self.sent + 1) / self.rate_hz) <= until_s:
            self.sent += 1
            blocks_ms = tuple(self.times(at_s))
            run_ms = sum(blocks_ms)
            self.app.meter.add(Observation(BEGIN_S + at_s, run_ms, run_ms, True, blocks_ms, self.app.route.expected))


@dataclass
class Drifting:
    """The watch, with what it is shown."""

    lanes: int = 1
    contention: Contention = Contention()  # noqa: RUF009 - frozen, so sharing the default is safe
    cpu_others: Callable[[float], float] = lambda _: 0.0
    sources: list[Source] = field(default_factory=list)
    now_s: float = 0.0
    causes: list[tuple[float, str]] = field(default_factory=list)
    """When there was a reason to plan anew, and which; the plan was made at once."""
    settings: CorrectionSettings = CorrectionSettings()  # noqa: RUF009 - frozen, as above

    def __post_init__(self) -> None:
        self.watch = DriftWatch(self.settings, self.lanes, BEGIN_S)

    def add(self, name: str, rate_hz: float, times: Times, blocks: int = 4) -> LiveApp:
        """An app of so many blocks that take 1 ms each by their profile."""
        expected = expected_blocks(blocks, name)
        route = route_of(*(AddBlock() for _ in range(blocks)), name=name, expected=expected)
        app = live_app(name, route=route)
        self.sources.append(Source(app, rate_hz, times, sent=int(self.now_s * rate_hz)))
        return app

    def until(self, end_s: float) -> Factors:
        """Look every tick until then; a reason for a plan has one made with the factors of that moment."""
        while self.now_s < end_s - 1e-9:
            self.now_s = round(self.now_s + TICK_S, 6)
            for source in self.sources:
                source.send(self.now_s)
            self.look()
            found = list(self.watch.causes())
            if found:
                self.causes += [(self.now_s, text) for text in found]
                self.watch.planned(self.watch.factors_to_plan(), BEGIN_S + self.now_s)
        return self.watch.factors()

    def look(self) -> None:
        """One look at the board."""
        apps = [source.app for source in self.sources]
        self.watch.look(apps, EMPTY_PLAN, self.contention, self.cpu_others(self.now_s), BEGIN_S + self.now_s)


def steady(*blocks_ms: float) -> Times:
    """Every request takes this."""
    return lambda _: blocks_ms


def stepped(at_s: float, factor: float, until_s: float = float("inf"), blocks: int = 4) -> Times:
    """1 ms a block, and `factor` times that from `at_s` until `until_s`."""
    return lambda now_s: (factor if at_s < now_s <= until_s else 1.0,) * blocks
