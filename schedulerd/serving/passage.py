"""One request's way past the exits of its route: where it leaves, why, and with what.

BranchyNet (ICPR'16), algorithm 1: at each exit of the policy the head is evaluated, and a frame that it is sure of
leaves. Besides, with late policy `exit`, a frame leaves where the next exit would be too late. A request that asks for
given exits follows no policy: it collects their outputs in one pass and ends at the deepest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from blockstore.exits import FINAL
from schedulerd.serving.route import LoadedExit, RouteExits


class Departure(NamedTuple):
    """How a request ended."""

    exit: str
    """The deepest exit with an output in `tensors`."""
    left: str
    """One of `wire.messages.LEFT`."""
    confidence: float | None
    """Of that exit; None at `FINAL`, and where it is no number."""
    accuracy: float
    """Expected of this answer, 0 to 1."""
    tensors: tuple[Any, ...]
    """The engine's: one, or one for each exit that was asked for, in that order."""
    evaluated: tuple[tuple[str, bool], ...] = ()
    """As `Observation.evaluated`."""


class Passage(Protocol):
    """State of one request between the blocks of a route with exits."""

    def leaves(self, block: int, tensor: Any) -> bool:
        """Take in the output of `block`, which has just run; True when the request ends with it."""
        ...

    def departure(self, tensor: Any, accuracy: float) -> Departure:
        """How it ended, after `leaves` was True.

        Args: tensor: output of the last block that ran; accuracy: expected of frames that run to the end.
        """
        ...


class PolicyPassage:
    """Follows the exit policy of the route, and leaves early where a deadline asks for it."""

    __slots__ = ("_deadline_s", "_departure", "_evaluated", "_heads", "_now_s", "_slowdown")

    def __init__(
        self, exits: RouteExits, deadline_s: float | None, now_s: Callable[[], float], slowdown: float = 1.0
    ) -> None:
        """Begin the way.

        Args: exits; deadline_s: on the clock `now_s`, None where no deadline ends the way; now_s; slowdown: of
        the 95th percentile, present over profiled time.
        """
        self._slowdown = slowdown
        self._heads = _Heads(exits)
        self._deadline_s = deadline_s
        self._now_s = now_s
        self._evaluated: list[tuple[str, bool]] = []
        self._departure: tuple[LoadedExit, str, Any, float] | None = None
        """Exit, why there, its output and confidence; None while none was taken."""

    def leaves(self, block: int, tensor: Any) -> bool:
        """See `Passage`."""
        exit_ = self._heads.passed(block, tensor)
        is_last = block == self._heads.exits.last_block
        if exit_ is None:
            return is_last
        output, confidence = None, math.nan
        if exit_.threshold is not None:
            output, confidence = self._heads.evaluate(exit_)
            if is_last:
                return self._leave(exit_, "end", output, confidence)
            confident = confidence >= exit_.threshold  # False for NaN
            self._evaluated.append((exit_.name, confident))
            if confident:
                return self._leave(exit_, "confident", output, confidence)
        if self._deadline_s is None or self._now_s() + self._slowdown * exit_.onward_s <= self._deadline_s:
            return False
        if output is None:
            output, confidence = self._heads.evaluate(exit_)
        return self._leave(exit_, "deadline", output, confidence)

    def departure(self, tensor: Any, accuracy: float) -> Departure:
        """See `Passage`."""
        evaluated = tuple(self._evaluated)
        if self._departure is None:
            return Departure(FINAL, "end", None, accuracy, (tensor,), evaluated)
        exit_, left, output, confidence = self._departure
        if left != "end":
            accuracy = exit_.curve.accuracy_at(confidence)
        return Departure(exit_.name, left, _told(confidence), accuracy, (output,), evaluated)

    def _leave(self, exit_: LoadedExit, left: str, output: Any, confidence: float) -> bool:
        self._departure = exit_, left, output, confidence
        return True


class AskedPassage:
    """Collects the outputs of given exits, and runs no deeper than the deepest of them."""

    __slots__ = ("_asked", "_deepest", "_found", "_heads", "_last_block")

    def __init__(self, exits: RouteExits, asked: tuple[str, ...]) -> None:
        """Args: exits; asked: some of the route's, at least one."""
        self._heads = _Heads(exits)
        self._asked = asked
        self._last_block = exits.depth_of(asked)
        self._found: dict[str, Any] = {}
        self._deepest: tuple[LoadedExit, float] | None = None

    def leaves(self, block: int, tensor: Any) -> bool:
        """See `Passage`."""
        exit_ = self._heads.passed(block, tensor)
        if exit_ is not None and exit_.name in self._asked:
            self._found[exit_.name], confidence = self._heads.evaluate(exit_)
            self._deepest = exit_, confidence
        return block == self._last_block

    def departure(self, tensor: Any, accuracy: float) -> Departure:
        """See `Passage`."""
        name, told = FINAL, None
        if FINAL in self._asked:
            self._found[FINAL] = tensor
        else:
            assert self._deepest is not None, "a request that asks for exits asks for one at least"
            exit_, confidence = self._deepest
            name, told, accuracy = exit_.name, _told(confidence), exit_.curve.accuracy_at(confidence)
        outputs = tuple(self._found[wanted] for wanted in self._asked)
        return Departure(name, "asked", told, accuracy, outputs)


class _Heads:
    """Evaluates heads for one request, with the outputs of the blocks before them, kept for as long as one is taken."""

    __slots__ = ("_kept", "_tensor", "exits")

    def __init__(self, exits: RouteExits) -> None:
        self.exits = exits
        self._kept: dict[int, Any] = {}
        self._tensor: Any = None

    def passed(self, block: int, tensor: Any) -> LoadedExit | None:
        """Take in the output of `block`; its exit, if there is one."""
        exits = self.exits
        self._tensor = tensor
        if self._kept:
            self._kept = {b: kept for b, kept in self._kept.items() if exits.kept_until[b] >= block}
        if block in exits.kept_until:
            self._kept[block] = tensor
        return exits.after[block]

    def evaluate(self, exit_: LoadedExit) -> tuple[Any, float]:
        """Output and confidence of the exit of the block that has just run."""
        *earlier, _ = exit_.inputs
        return exit_.head.run([*(self._kept[block] for block in earlier), self._tensor])


def _told(confidence: float) -> float | None:
    """A confidence as it is told to clients: None where it is no number."""
    return confidence if math.isfinite(confidence) else None
