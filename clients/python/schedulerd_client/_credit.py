"""How many requests an app may have open at once, and the line of those that wait for one to end."""

from __future__ import annotations

import asyncio
from collections import deque


class Credit:
    """Of one event loop. A limit of 0 is none."""

    def __init__(self) -> None:
        self._open = 0
        self._line: deque[asyncio.Future[None]] = deque()

    async def take(self, limit: int, timeout_s: float) -> bool:
        """Wait for room, first come, first served; False where there was none in time."""
        if not self._line and (limit == 0 or self._open < limit):
            self._open += 1
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except TimeoutError:
            return self._left(turn)
        except asyncio.CancelledError:
            self._left(turn)
            raise
        return True

    def give_back(self) -> None:
        """A request has ended: the first in the line has its room."""
        while self._line:
            turn = self._line.popleft()
            # Whoever has left is done.
            if not turn.done():
                turn.set_result(None)
                return
        self._open -= 1

    def _left(self, turn: asyncio.Future[None]) -> bool:
        """Whoever leaves when the turn has just come passes it on."""
        if not turn.cancelled():
            self.give_back()
        return False
