"""Asks the control loop for what it knows, with a time-out, and makes a `View` of it.

What a busy loop said last stands in for an answer that does not come, with its age: whoever watches a board wants to
know about one in trouble most of all. However many ask, the loop is asked a few times a second at most.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from schedulerd.clock import Clock
from schedulerd.control.plan_report import MEASURED_S
from schedulerd.control.report import Now
from schedulerd.control.tally import Totals
from schedulerd.metrics.view import AppSeen, View
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Viewed
from schedulerd.serving.meter import percentile

ANSWER_S: Final = 2.0
"""How long the control loop is waited for. Prometheus waits 10 s for everything."""
FRESH_S: Final = 0.2
"""So long an answer stands for the next one who asks."""


class Viewer:
    """The last answer of the control loop, and what has to be asked of others."""

    def __init__(
        self,
        post: Callable[[Viewed], None],
        refused: Mapping[str, int],
        alive_at_s: Callable[[], Mapping[str, float]],
        clock: Clock,
        answer_s: float = ANSWER_S,
    ) -> None:
        """Nothing is known yet.

        Args: post: to the control loop; refused: at the sockets, of those who are no app; alive_at_s: when each thread
        came round last; clock; answer_s: how long the loop is waited for.
        """
        self._post = post
        self._refused = refused
        self._alive_at_s = alive_at_s
        self._clock = clock
        self._answer_s = answer_s
        self._asking = threading.Lock()
        self._now: Now | None = None
        self._asked_at_s: float | None = None
        self._totals = Totals()

    def view(self) -> View | None:
        """All that is known now; None before the control loop has ever answered. From any thread."""
        with self._asking:
            now = self._now = self._asked() or self._now
            if now is None:
                return None
            at_s = self._clock.now_s()
            self._totals = _highest(self._totals, now.totals)
            return View(
                now=now,
                age_s=max(0.0, at_s - now.snapshot.at_s),
                # Of an old answer, some may have left meanwhile.
                apps=tuple(_seen(app, now, at_s) for app in now.apps if not app.gone),
                totals=self._totals,
                refused=dict(self._refused),
                silence_s={name: max(0.0, at_s - alive_s) for name, alive_s in self._alive_at_s().items()},
            )

    def _asked(self) -> Now | None:
        """What the loop answers; None where the last answer, or the last silence, is young, or it does not in time."""
        at_s = self._clock.now_s()
        if self._asked_at_s is not None and 0.0 <= at_s - self._asked_at_s < FRESH_S:
            return None
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._post(Viewed(answers.put))
        try:
            answer: Now | None = answers.get(timeout=self._answer_s)
        except queue.Empty:
            answer = None
        self._asked_at_s = self._clock.now_s()
        return answer


def _seen(app: LiveApp, now: Now, at_s: float) -> AppSeen:
    latencies_ms = [o.latency_ms for o in app.meter.since(at_s - MEASURED_S)]
    return AppSeen(
        live=app,
        planned=now.plan.app(app.spec.app_id),
        swaps=now.swaps.get(app.spec.app_id, 0),
        measured_p50_ms=percentile(latencies_ms, 0.5),
        measured_p95_ms=percentile(latencies_ms, 0.95),
    )


def _highest(before: Totals, now: Totals) -> Totals:
    """An app that has just left is in neither sum for a moment; to Prometheus a counter that falls has begun anew."""
    return Totals(
        max(before.requests, now.requests),
        max(before.misses, now.misses),
        max(before.refused, now.refused),
        max(before.swaps, now.swaps),
    )
