"""A route in memory: the blocks of one plan's choice for one app, immutable, and pinned while a request runs on it.

The executor takes `LiveApp.route` once, when a request starts; a swap replaces that reference between two requests.
The old route is released when its last request has unpinned it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from blockstore.assembly import LoadedBlock, LoadedHead
from blockstore.exits import FINAL, Curve
from schedulerd.plan import Route

LEAST_SAVED: Final = 0.05
"""Share of the time of as many single runs that a batch has to save: medians of equal runs differ by some percent."""
JOINING_S: Final = 0.000_01
"""What deciding on a batch and taking it apart costs for each of its frames, more than asking the queue for each."""


@dataclass(frozen=True, slots=True)
class ExpectedBlock:
    """What the profile says of one loaded block, on a quiet board and without an exit's head."""

    first: int
    """Of the model's blocks that it computes."""
    digests: tuple[str, ...]
    """Blobs of these blocks: more than one where neighbours were merged into one session."""
    engine: str
    median_ms: float
    """Of a run that follows another one of the same route."""
    cold_ms: float
    """Median of a run that follows another route."""
    p95_ms: float
    batch_ms: tuple[tuple[int, float], ...] = ()
    """Medians of whole batches, as `median_ms`: `(frames, ms)` by rising number, of those that were measured."""

    @property
    def last(self) -> int:
        """Of the model's blocks that it computes."""
        return self.first + len(self.digests) - 1

    def usual_ms(self, *, alone: bool) -> float:
        """Of a typical run, where the app is alone on the board or takes turns with others."""
        return self.median_ms if alone else self.cold_ms


Expected = tuple[ExpectedBlock, ...]
"""Of a route, one for each loaded block."""


@dataclass(frozen=True, slots=True)
class LoadedExit:
    """An exit in memory, with what is known of it behind the variants of this route."""

    name: str
    block: int
    """A frame can leave after this block."""
    inputs: tuple[int, ...]
    """Blocks whose outputs the head takes, by rising depth, its own last."""
    head: LoadedHead
    threshold: float | None
    """Confidence from which a frame leaves; None where the policy does not use this exit."""
    curve: Curve
    onward_s: float
    """The profile's 95th percentile from here to the output of the next exit, or of the route's end, unscaled."""
    digest: str = ""
    """Blob of `head`."""


@dataclass(frozen=True, slots=True)
class RouteExits:
    """The exits of one route."""

    after: tuple[LoadedExit | None, ...]
    """For each block of the route, the exit after it."""
    kept_until: Mapping[int, int]
    """Block whose output the head of a later exit takes -> block of the last such exit."""

    @staticmethod
    def of(exits: Sequence[LoadedExit], blocks: int) -> RouteExits:
        """Exits by rising depth, on a route of so many blocks."""
        by_block = {e.block: e for e in exits}
        return RouteExits(
            after=tuple(by_block.get(block) for block in range(blocks)),
            kept_until={taken: e.block for e in exits for taken in e.inputs if taken < e.block},
        )

    @property
    def last_block(self) -> int:
        """Where the route ends."""
        return len(self.after) - 1

    def depth_of(self, names: Collection[str]) -> int:
        """The block after which the deepest of these exits stands."""
        if FINAL in names:
            return self.last_block
        return max(e.block for e in self.after if e is not None and e.name in names)


class Ahead(NamedTuple):
    """What the profile says of the rest of a route from one of its blocks on, unscaled."""

    single_s: float = 0.0
    """Median of this block with one frame."""
    soonest_s: float = 0.0
    """Medians up to the next exit."""
    longest_s: float = 0.0
    """95th percentiles up to the end, without heads."""
    batch_s: tuple[tuple[int, float], ...] = ()
    """Batches that pay when they begin here, `(frames, seconds of this block)` by rising number."""


@dataclass(frozen=True, slots=True)
class LoadedRoute:
    """One loaded block for each block that the route has, with what was predicted when the plan was made."""

    route: Route
    blocks: tuple[LoadedBlock, ...]
    plan: int
    """Number of the plan that put this route in place."""
    accuracy: float
    """Expected of frames that run to the last step of the policy, 0 to 1."""
    expected: Expected
    """What the live timings are compared with."""
    exits: RouteExits | None = None
    """None for a route without any."""
    full_accuracy: float = 0.0
    """Predicted for all frames at the network's own end, without any policy: of a request that asks for it."""
    soonest_s: float = 0.0
    """The profile's median up to where the policy lets a first frame leave, unscaled: no answer comes sooner."""
    ahead: tuple[Ahead, ...] = field(init=False, compare=False)
    """From each block on, and then of the end: what is asked of it at every block boundary has been added up."""
    pins: PinCount = field(default_factory=lambda: PinCount(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ahead", _ahead(self.expected, self.exits, len(self.blocks)))

    def offered(self) -> tuple[str, ...]:
        """The exits whose outputs a request may ask for; `FINAL` is not among them where the policy caps the depth."""
        named = () if self.exits is None else tuple(e.name for e in self.exits.after if e is not None)
        return (*named, FINAL) if self.route.policy.last == FINAL else named


class PinCount:
    """How many requests run on a route now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def take(self) -> None:
        """A request has started."""
        with self._lock:
            self._count += 1

    def release(self) -> None:
        """A request has ended; raises when none had started."""
        with self._lock:
            if self._count == 0:
                raise RuntimeError("a route was unpinned more often than pinned")
            self._count -= 1

    @property
    def drained(self) -> bool:
        """True when no request runs on the route."""
        return self._count == 0


def _ahead(expected: Expected, exits: RouteExits | None, blocks: int) -> tuple[Ahead, ...]:
    """`LoadedRoute.ahead` of a route of so many blocks; zero for those of which nothing is expected.

    A batch pays where it saves enough of what its frames would take alone up to the end of the route: a block that
    gains nothing may stand before those that do, and who does not join there will not be beside the others later.
    """
    found = [Ahead()]
    rest_s = 0.0
    saved_later_s: dict[int, float] = {}
    for number in reversed(range(blocks)):
        after = found[-1]
        if number >= len(expected):
            found.append(after._replace(single_s=0.0))
            continue
        block = expected[number]
        single_s, leaves = block.median_ms * 1e-3, exits is not None and exits.after[number] is not None
        rest_s += single_s
        batch_s = tuple((frames, ms * 1e-3) for frames, ms in block.batch_ms)
        saved_s = {frames: frames * (single_s - JOINING_S) - seconds for frames, seconds in batch_s}
        found.append(
            Ahead(
                single_s=single_s,
                soonest_s=single_s + (0.0 if leaves else after.soonest_s),
                longest_s=block.p95_ms * 1e-3 + after.longest_s,
                batch_s=tuple(
                    (frames, seconds)
                    for frames, seconds in batch_s
                    if saved_s[frames] + saved_later_s.get(frames, 0.0) > LEAST_SAVED * frames * rest_s
                ),
            )
        )
        for frames, seconds in saved_s.items():
            saved_later_s[frames] = saved_later_s.get(frames, 0.0) + max(0.0, seconds)
    return tuple(reversed(found))
