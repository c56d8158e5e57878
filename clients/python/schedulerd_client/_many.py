"""Many frames through one client, several of them open at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import numpy.typing as npt

from schedulerd_client._errors import Refusal
from schedulerd_client._values import Reply

Frames = Iterable[npt.ArrayLike] | AsyncIterable[npt.ArrayLike]
Answer = Reply | Refusal
Infer = Callable[[npt.ArrayLike], Coroutine[Any, Any, Reply]]
_END = object()


async def answers(
    frames: Frames, infer: Infer, at_once: int, *, ordered: bool
) -> AsyncGenerator[tuple[int, Answer], None]:
    """The number of each frame, from 0, with its answer; at most `at_once` frames are taken and not yet handed out.

    Whatever goes wrong, other than a refusal, is raised, and what is still open is cancelled.
    """
    source = aiter(frames) if isinstance(frames, AsyncIterable) else _each(frames)
    coming: asyncio.Task[Any] | None = None
    numbers: dict[asyncio.Task[Answer], int] = {}
    taken = 0
    ended = False
    try:
        while numbers or not ended:
            if coming is None and not ended and len(numbers) < at_once:
                coming = asyncio.create_task(_next(source))
            await _stirred([*numbers][: 1 if ordered else None], coming)
            if coming is not None and coming.done():
                frame, coming = coming.result(), None
                ended = frame is _END
                if not ended:
                    numbers[asyncio.create_task(_answer(infer, frame))] = taken
                    taken += 1
            for task in _ready(numbers, ordered=ordered):
                yield numbers.pop(task), task.result()
    finally:
        await _cancelled([*numbers, *([] if coming is None else [coming])])


async def _each(frames: Iterable[npt.ArrayLike]) -> AsyncIterator[npt.ArrayLike]:
    for frame in frames:
        yield frame


async def _next(source: AsyncIterator[npt.ArrayLike]) -> Any:
    return await anext(source, _END)


async def _answer(infer: Infer, frame: npt.ArrayLike) -> Answer:
    """A refusal is an answer like another: the next frame may be served."""
    try:
        return await infer(frame)
    except Refusal as refusal:
        return refusal


async def _stirred(open_frames: list[asyncio.Task[Answer]], coming: asyncio.Task[Any] | None) -> None:
    """Wait for one of them to be done; each ends by itself within a time-out, or with the source."""
    waited: list[asyncio.Task[Any]] = [*open_frames, *([] if coming is None else [coming])]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)


def _ready(numbers: dict[asyncio.Task[Answer], int], *, ordered: bool) -> list[asyncio.Task[Answer]]:
    """What can be handed out now, the oldest first; in order, nothing behind one that is not done."""
    ready = []
    for task in numbers:
        if task.done():
            ready.append(task)
        elif ordered:
            break
    return ready


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
