"""Tasks of an event loop that are known to have begun."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def begun(call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task for `call` that has run up to where it first waits."""
    started = asyncio.Event()

    async def run() -> T:
        started.set()
        return await call

    task = asyncio.create_task(run())
    await started.wait()
    return task
