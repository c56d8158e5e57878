"""What fails as it runs: a block or a head that raises an error, or gives NaN or infinities where it was given numbers.

The request that meets it is answered with `engine_fault`, and the control loop is told which blob it was, so that it
plans without it. Only the final output of a request is looked at; which block spoilt it is found by running the route
again, on the lane, for that happens once in a blue moon. It is run on a copy of the frame, which may lie in memory that
its client goes on writing to: a client can spoil its own requests, but not have a variant taken from others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import structlog

from blockstore.block import ORIGINAL
from blockstore.exits import FINAL
from schedulerd.errors import BadTensor, EngineFault, SchedulerdError
from schedulerd.serving.engines.base import Array, Engine
from schedulerd.serving.events import Faulted
from schedulerd.serving.job import Job
from schedulerd.serving.passage import Departure
from schedulerd.serving.route import LoadedExit, LoadedRoute

log = structlog.get_logger(__name__)

SUM_AT_MOST: Final = 10_000
"""Elements up to which one sum of squares, 2 us, is quicker than a look at each. BLAS may use threads for more."""
ORDINARY: Final = 65_536.0
"""The largest number that sensors give, of 16 bits. What overflows on a frame of larger ones is not held against it."""


def is_finite(output: Array) -> bool:
    """Whether no element is NaN or infinite; true of integers."""
    if output.dtype.kind != "f":
        return True
    # A NaN or an infinity makes the sum of squares one; a sum that is too large proves nothing.
    if output.size <= SUM_AT_MOST and math.isfinite(np.vdot(output, output)):
        return True
    return bool(np.isfinite(output).all())


def ignore(fault: Faulted) -> None:
    """Tell nobody."""


class _Part(NamedTuple):
    """A block, several that run merged, or a head."""

    name: str
    digests: tuple[str, ...]


_NOTHING: Final = _Part("a run that went well when it was repeated", ())
"""Nothing that could be named."""


class _Rerun(NamedTuple):
    """What running the blocks again has shown."""

    spoiler: _Part | None
    """The first block that made something else of numbers."""
    ends_infinite: bool
    """The last block gave infinities all the same: originals made them."""
    tensors: tuple[Any, ...]
    """Outputs of the blocks."""


class Faults:
    """Finds what failed, tells the control loop, and makes the answer to the request."""

    def __init__(self, engine: Engine, report: Callable[[Faulted], None]) -> None:
        """Args: engine: the main one; report: is told what failed, and does not wait."""
        self._engine = engine
        self._report = report
        self._infinite: frozenset[str] = frozenset()
        """Models whose originals give infinities, as a mask or a logarithm does: answers like any other."""

    def of_block(self, job: Job, error: Exception) -> EngineFault:
        """The answer to a job whose next block raised `error`."""
        return self._raised(job, _block(_route(job), job.next_block), error)

    def of_head(self, job: Job, error: Exception) -> EngineFault:
        """The answer to a job where the head behind the block that ran last raised `error`."""
        exits = _route(job).exits
        exit_ = exits.after[job.next_block - 1] if exits is not None else None
        assert exit_ is not None, "only an exit has a head that could fail"
        return self._raised(job, _head(exit_), error)

    def check(self, job: Job, end: Departure) -> None:
        """A job has ended with NaN or infinities in its output: whose are they?

        Returns where the model means its infinities. Raises `BadTensor` where the frame came with such, and else
        `EngineFault`.
        """
        model = _route(job).route.model
        outputs = [self._engine.fetch(tensor) for tensor in end.tensors]
        has_nan = any(map(_has_nan, outputs))
        if not has_nan and model in self._infinite:
            return
        rerun = self._run_again(job)
        if rerun.spoiler is None and rerun.ends_infinite and not has_nan:
            self._infinite |= {model}
            return
        names = job.asked or (end.exit,)
        worst = next(name for name, output in zip(names, outputs, strict=True) if not is_finite(output))
        part = rerun.spoiler or self._head_again(job, worst, rerun.tensors)
        raise self._answer(job, part, "it gave NaN or infinities", no_numbers=True)

    def _run_again(self, job: Job) -> _Rerun:
        route = _route(job)
        given = np.array(job.input())
        if not is_finite(given):
            raise BadTensor("the frame has NaN or infinities in it; send numbers")
        if (largest := _largest(given)) > ORDINARY:
            raise BadTensor(
                f"the frame comes to NaN or infinities, and has numbers of up to {largest:.3g} in it; send numbers of "
                f"up to {ORDINARY:g}"
            )
        tensor, tensors, finite = self._engine.feed(given), [], True
        for number, block in enumerate(route.blocks[: job.next_block]):
            try:
                tensor = block.run(tensor)
            except Exception as error:
                raise self._raised(job, _block(route, number), error) from error
            tensors.append(tensor)
            output = self._engine.fetch(tensor)
            was_finite, finite = finite, is_finite(output)
            if _has_nan(output) or (was_finite and not finite and not _is_original(route, number)):
                return _Rerun(_block(route, number), ends_infinite=False, tensors=())
        return _Rerun(None, ends_infinite=not finite, tensors=tuple(tensors))

    def _head_again(self, job: Job, name: str, tensors: Sequence[Any]) -> _Part:
        """The head whose output was spoilt, where it spoils it again; `tensors`: of the blocks up to it, in numbers."""
        exits = _route(job).exits
        found = None if exits is None else next((e for e in exits.after if e is not None and e.name == name), None)
        if found is None or name == FINAL:
            return _NOTHING
        try:
            output, _ = found.head.run([tensors[block] for block in found.inputs])
        except Exception as error:
            raise self._raised(job, _head(found), error) from error
        return _NOTHING if is_finite(self._engine.fetch(output)) else _head(found)

    def _raised(self, job: Job, part: _Part, error: Exception) -> EngineFault:
        log.error("request_failed", app=job.app.spec.app_id, part=part.name, exc_info=error)
        reason = str(error) if isinstance(error, SchedulerdError) else f"{type(error).__name__}, see the daemon's log"
        return self._answer(job, part, reason, no_numbers=False)

    def _answer(self, job: Job, part: _Part, reason: str, *, no_numbers: bool) -> EngineFault:
        if part.digests:
            self._report(Faulted(job.app.spec.app_id, part.digests, reason, no_numbers))
        return EngineFault(
            f"{part.name} failed: {reason}; send the next frame, another variant runs where there is one"
        )


def _route(job: Job) -> LoadedRoute:
    assert job.route is not None, "a job that runs has its route"
    return job.route


def _block(route: LoadedRoute, number: int) -> _Part:
    """A loaded block by its place on the route."""
    block = route.expected[number]
    variants = route.route.variants[block.first : block.last + 1]
    blocks = f"block {block.first}" if block.first == block.last else f"blocks {block.first} to {block.last}"
    return _Part(f"{blocks} ({', '.join(variants)}) of {route.route.model!r}", block.digests)


def _is_original(route: LoadedRoute, number: int) -> bool:
    block = route.expected[number]
    return all(variant == ORIGINAL for variant in route.route.variants[block.first : block.last + 1])


def _head(exit_: LoadedExit) -> _Part:
    return _Part(f"the head of exit {exit_.name!r}", (exit_.digest,))


def _has_nan(output: Any) -> bool:
    return output.dtype.kind == "f" and bool(np.isnan(output).any())


def _largest(frame: Array) -> float:
    """The largest size of a number in a frame, which is finite."""
    return float(max(frame.max(), -frame.min())) if frame.size and frame.dtype.kind == "f" else 0.0
