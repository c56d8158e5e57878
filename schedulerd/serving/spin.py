"""Waiting that looks a little longer before it sleeps, when sleeping was not worth it the last time.

A thread that sleeps on a socket is woken by the kernel, on a core that has gone idle, with cold caches: 30 to 100 µs of
each request from an app that sends its next frame as soon as it has its answer. Looking again and again (as in
net.core.busy_poll, or an adaptive mutex) saves that, and burns a core where nobody comes. So a wait spins only after
one that was short, and a spin that was in vain is the last until a sleep is short again: an app with a steady rate
costs no spin at all.

It is for a single lane with a core to spare. Of several lanes the one that waits would spin while another one runs the
block that everybody waits for, and on one core a spin keeps out the very process it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from schedulerd.clock import Clock

Ready = tuple[int, int]
"""A descriptor and its events, as epoll gives them."""
SPIN_S = 0.000_2
"""Longest spin. An app that asks again at once takes 60 to 150 µs from our reply to its next message."""


class SpinningWait:
    """Calls `poll(seconds)`, which returns pairs of what is ready, until something is or the time is up."""

    def __init__(
        self, poll: Callable[[float], Sequence[Ready]], clock: Clock, *, may_spin: bool, wake: int = -1
    ) -> None:
        """Args: poll; clock; may_spin: see above; wake: what another thread ends a wait with, no arrival."""
        self._poll = poll
        self._clock = clock
        self._may_spin = may_spin
        self._wake = wake
        self._came_soon = False

    def wait(self, wait_s: float) -> Sequence[Ready]:
        """What `poll` found ready within `wait_s` seconds; empty when nothing was."""
        if wait_s <= 0:
            return self._poll(0)
        began_s = self._clock.now_s()
        ready = self._spin(began_s + min(SPIN_S, wait_s)) if self._came_soon else ()
        if not ready:
            ready = self._poll(wait_s)
        if self._may_spin and not (len(ready) == 1 and ready[0][0] == self._wake):
            self._came_soon = bool(ready) and self._clock.now_s() - began_s <= SPIN_S
        return ready

    def _spin(self, until_s: float) -> Sequence[Ready]:
        while True:
            # A poll gives up the interpreter's lock, so that other threads run meanwhile.
            ready = self._poll(0)
            if ready or self._clock.now_s() >= until_s:
                return ready
