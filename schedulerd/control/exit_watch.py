"""Watches the exits of all apps: remembers what drifted until a plan can use it, and tells what frames do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from schedulerd.control.exit_rates import FORGET_S, LEAST_FRAMES, History, Seen, drifted, seen_at_exits, shares_of
from schedulerd.control.policies import Observed, leave_rates
from schedulerd.plan import AppPlan, Plan
from schedulerd.serving.apps import LiveApp

WINDOW_S = 60.0
"""Frames so old still say what the scene is like, of an app that sends few."""
NEWEST = 200
"""Frames that are looked at, at most: of an app that sends many the newest seconds say it all."""


class ExitWatch:
    """What was seen of each app; the control thread is the only caller."""

    def __init__(self, publish: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Args: publish: sends an event of a kind with its body."""
        self._publish = publish
        self._observed: dict[str, tuple[Observed, float]] = {}
        """By app, what its frames did under some policy, and when that was last so."""
        self._histories: dict[str, History] = {}

    def look(self, apps: Sequence[LiveApp], plan: Plan, now_s: float) -> list[str]:
        """Why the plan should be made anew, if it should; from then on `observed` is what was seen."""
        return [text for app in apps for text in self._looked_at(app, plan.app(app.spec.app_id), now_s)]

    def observed(self, app_id: str) -> Observed | None:
        """What is known of an app's frames beyond the forecast."""
        known = self._observed.get(app_id)
        return known[0] if known else None

    def tell(self, apps: Sequence[LiveApp], plan: Plan, now_s: float) -> None:
        """An event for each app with exits whose bin of the history is over and has frames."""
        for app in apps:
            route = app.route
            if route is None or route.exits is None:
                continue
            name, before = app.spec.app_id, self._histories.get(app.spec.app_id, History())
            after = self._histories[name] = before.after(app.meter.exits, now_s)
            planned = plan.app(name)
            if planned and after.bins[-1:] != before.bins[-1:] and (counts := after.bins[-1].counts):
                self._publish(
                    "exits",
                    {
                        "app": name,
                        "frames": sum(counts.values()),
                        "exit_rates": shares_of(counts),
                        "exit_shares": planned.shares_by_exit(),
                    },
                )

    def histories(self) -> Mapping[str, History]:
        """Of each app with exits."""
        return self._histories

    def forget(self, app_id: str) -> None:
        """An app has left."""
        self._observed.pop(app_id, None)
        self._histories.pop(app_id, None)

    def _expected(self, app_id: str, planned: AppPlan) -> dict[str, float]:
        """Leave rates by the plan, or as they were last seen: a plan that is held back does not have them yet."""
        policy = planned.route.policy
        expected, known = leave_rates(policy, planned.exit_shares), self.observed(app_id)
        return expected if known is None or known.policy != policy else {**expected, **known.rates}

    def _looked_at(self, app: LiveApp, planned: AppPlan | None, now_s: float) -> Iterator[str]:
        name, route = app.spec.app_id, app.route
        if planned is None or route is None or route.exits is None:
            return
        expected = self._expected(name, planned)
        seen = seen_at_exits(app.meter.since(now_s - WINDOW_S)[-NEWEST:], route.plan)
        off, known = drifted(expected, seen), self.observed(name)
        if off:
            policy = planned.route.policy
            # What was seen of other exits of this policy stays known, though fewer frames come there now.
            before = known.rates if known is not None and known.policy == policy else {}
            self._observed[name] = (Observed(policy, {**before, **_rates(seen)}), now_s)
            told = (f"{exit_} ({seen[exit_].rate:.0%} of its frames, {expected[exit_]:.0%} expected)" for exit_ in off)
            yield f"{name} leaves differently at {', '.join(told)}"
        elif known is not None and known.rates.keys() <= expected.keys():
            # The exits are still evaluated, so what was seen is still so.
            self._observed[name] = (known, now_s)
        elif known is not None and now_s - self._observed[name][1] > FORGET_S:
            del self._observed[name]
            yield f"the exits of {name} are tried again"


def _rates(seen: Mapping[str, Seen]) -> dict[str, float]:
    """Leave rates of the exits that enough frames came to."""
    return {exit_: found.rate for exit_, found in seen.items() if found.came >= LEAST_FRAMES}
