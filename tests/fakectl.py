"""A daemon as `schedctl` sees it: an example of every answer, and a control connection that gives them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from schedulerd_client import Addition, Event

STATUS = {
    "version": "0.1.0",
    "pid": 4711,
    "uptime_s": 75.2,
    "ready": True,
    "engine": "onnxruntime",
    "lanes": 1,
    "threads_per_lane": 2,
    "plan": 7,
    "apps": 2,
    "requests": 1200,
    "misses": 3,
    "refused": 1,
    "swaps": 6,
    "resident_bytes": 12_300_000,
    "memory_limit_bytes": 80_000_000,
    "rss_bytes": 103_000_000,
    "slowdown": 1.125,
    "slowdown_p95": 1.3,
    "cpu_busy": 0.63,
    "cpu_others": None,
    "memory_available_bytes": 2_100_000_000,
    "states": {"live": 8, "warm": 12, "loading": 0},
}
APPS = {
    "apps": [
        {
            "app": "cam1",
            "model": "digits-residual",
            "budget_ms": 25.0,
            "percentile": 95.0,
            "rate_hz": 30.0,
            "priority": 8,
            "route": ["original", "w50"],
            "accuracy": 0.972,
            "latency_ms": 8.04,
            "latency_p95_ms": 11.2,
            "miss_ms": 0.0,
            "measured_p50_ms": None,
            "measured_p95_ms": None,
            "requests": 900,
            "misses": 2,
            "refused": {"overloaded": 1, "deadline_passed": 2},
            "swaps": 4,
        },
        {"app": "a-camera-with-a-long-name", "miss_ms": 3.14, "budget_ms": 40.0, "percentile": 99.0},
    ]
}
PLAN = {
    "number": 7,
    "cause": "budget of cam1 50 -> 25 ms",
    "sentence": "cam1 gives up 0.8 points to run in 11.2 ms",
    "status": "optimal",
    "gap": 0.0,
    "solve_ms": 3.2,
    "apply_ms": 1.1,
    "memory_bytes": 12_300_000,
    "memory_limit_bytes": 80_000_000,
    "utilisation": 0.41,
    "binding": ["budget:cam1", "memory"],
    "apps": [
        {
            "app": "cam1",
            "route": ["original", "w50"],
            "blocks": [
                {"block": "stem", "variant": "original", "ms": 2.5, "measured_ms": 2.61, "source": "measured"},
                {"block": "stage1", "variant": "w50", "ms": 5.54, "source": "predicted", "uncertainty": 0.12},
            ],
            "latency_ms": 8.04,
            "latency_p95_ms": 11.2,
            "expected_ms": 7.5,
            "measured_p50_ms": 8.31,
            "measured_p95_ms": 10.9,
            "measured_mean_ms": 7.77,
            "accuracy": 0.972,
            "memory_bytes": 5_000_000,
            "miss_ms": 0.0,
        }
    ],
}
MODELS = {
    "models": [
        {
            "model": "digits-residual",
            "accuracy": 0.98,
            "blocks": 4,
            "variants": 17,
            "routes": 256,
            "input": "uint8[64x64x1]",
        }
    ]
}
BUDGET = {
    "app": "cam1",
    "budget_ms": 25.0,
    "plan": 8,
    "sentence": "cam1 gives up 0.8 points to run in 11.2 ms",
    "latency_p95_ms": 11.2,
    "miss_ms": 0.0,
    "accuracy": 0.972,
    "apply_ms": 1.1,
}
MISSED = {**BUDGET, "latency_p95_ms": 11.2, "budget_ms": 5.0, "miss_ms": 6.2, "nearest_budget_ms": 11.2}
CHANGE = {"section": "limits", "key": "utilisation", "before": "0.8", "after": "0.5"}
RELOAD: dict[str, Any] = {"applied": [CHANGE], "restart": [], "plan": 8, "sentence": "cam1 moves to a smaller block"}
OVERRIDES: dict[str, Any] = {
    "objective": "min-latency",
    "memory_bytes": 80_000_000,
    "apps": [
        {"app": "cam1", "budget_ms": 12.0, "registered_budget_ms": 25.0},
        {"app": "cam2", "budget_ms": 0.05, "registered_budget_ms": None},
    ],
    "kept": True,
    "kept_reason": None,
}
PRIORITY = {**BUDGET, "priority": 9, "sentence": "priority of cam1 5 -> 9: cam1 keeps its route"}
PINNED = {**BUDGET, "pins": {"stem": "original"}, "pinned_exits": None, "unmet_pins": []}
DRAINED: dict[str, Any] = {"drained": ["cam1"], "in_flight": {}, "plan": 9, "sentence": "cam1 is drained"}
RESUMED = {"resumed": ["cam1"], "plan": 10, "sentence": "cam1 is resumed: cam1 starts at 11.2 ms"}
DROPPED = {"plan": 9, "sentence": "budget of cam1 12 -> 25 ms", "apply_ms": 1.0, "kept": True, "kept_reason": None}
OBJECTIVE = {
    "objective": "min-latency",
    "choices": ["max-accuracy", "min-latency"],
    "plan": 9,
    "sentence": "cam1 moves to 2 smaller blocks",
    "weighted_accuracy": 0.971,
    "apply_ms": 0.9,
}
WHY = {"app": "cam1", "since_s": 75.0}
WHATIF = {"edits": ["budget of cam1 25 -> 20 ms"]}
LIMIT = {"memory_limit_bytes": 80_000_000, "plan": 9, "sentence": "nothing changes", "apply_ms": 0.9}
EVENTS = [
    Event("plan", 1, 1_700_000_000.5, {"number": 8, "sentence": "cam1 gives up 0.8 points"}),
    Event("miss", 2, 1_700_000_001.5, {"app": "cam1", "missed": 1}),
    Event("miss", 3, 1_700_000_002.5, {"app": "cam1", "missed": 2}),
]


LOG_LEVEL = {"level": "info", "choices": ["debug", "info"]}


class FakeEvents:
    """Events that have happened already; ends with them."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._left = list(events)
        self.closed = False

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if not self._left:
            raise StopIteration
        return self._left.pop(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


class FakeControl:
    """A daemon with two apps that answers at once, or refuses everything with `failure`."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.stream = FakeEvents(EVENTS)
        self._failure = failure

    def _answer(self, answer: Mapping[str, Any], *asked: object) -> Mapping[str, Any]:
        self.asked.append(asked)
        if self._failure:
            raise self._failure
        return answer

    def status(self) -> Mapping[str, Any]:
        return self._answer(STATUS, "status")

    def apps(self) -> Mapping[str, Any]:
        self.asked.append(("apps",))
        return APPS

    def plan(self) -> Mapping[str, Any]:
        return self._answer(PLAN, "plan")

    def models(self) -> Mapping[str, Any]:
        return self._answer(MODELS, "models")

    def set_budget(self, app: str, budget_ms: float) -> Mapping[str, Any]:
        return self._answer(BUDGET, "budget", app, budget_ms)

    def set_limit(self, what: str, value_bytes: int | None) -> Mapping[str, Any]:
        return self._answer(LIMIT, "limit", what, value_bytes)

    def set_priority(self, app: str, priority: int) -> Mapping[str, Any]:
        return self._answer(PRIORITY, "priority", app, priority)

    def pin(self, app: str, blocks: Mapping[str, str]) -> Mapping[str, Any]:
        return self._answer(PINNED, "pin", app, dict(blocks))

    def unpin(self, app: str, blocks: Sequence[str]) -> Mapping[str, Any]:
        return self._answer(PINNED, "unpin", app, tuple(blocks))

    def drain(self, app: str | None) -> Mapping[str, Any]:
        return self._answer(DRAINED, "drain", app)

    def resume(self, app: str | None) -> Mapping[str, Any]:
        return self._answer(RESUMED, "resume", app)

    def why(self, app: str) -> Mapping[str, Any]:
        return self._answer(WHY, "why", app)

    def whatif(
        self,
        budgets_ms: Mapping[str, float],
        memory_bytes: int | None,
        add: Sequence[Addition],
        objective: str | None,
    ) -> Mapping[str, Any]:
        return self._answer(WHATIF, "whatif", dict(budgets_ms), memory_bytes, tuple(add), objective)

    def objective(self, name: str | None) -> Mapping[str, Any]:
        return self._answer(OBJECTIVE, "objective", name)

    def overrides(self) -> Mapping[str, Any]:
        return self._answer(OVERRIDES, "overrides")

    def drop_overrides(self, app: str | None) -> Mapping[str, Any]:
        return self._answer(DROPPED, "drop", app)

    def log_level(self, level: str | None) -> Mapping[str, Any]:
        return self._answer(LOG_LEVEL, "log_level", level)

    def reload(self) -> Mapping[str, Any]:
        return self._answer(RELOAD, "reload")

    def events(self, kinds: Sequence[str], timeout_s: float | None) -> FakeEvents:
        self.asked.append(("events", tuple(kinds), timeout_s))
        return self.stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.asked.append(("closed",))
