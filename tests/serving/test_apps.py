"""The registry of live apps: who is let in, and by what name an app is found."""

from __future__ import annotations

from typing import Any

import pytest

from schedulerd.errors import AlreadyRegistered, NameTaken, Overloaded, StoreFault
from schedulerd.plan import App
from schedulerd.serving.apps import LiveApp, Registry
from tests.serving.parts import FRAME, LOGITS


def live(name: str, identity: str = "") -> LiveApp:
    """An app on a connection of its own, unless `identity` says whose."""
    return LiveApp(App(name, "m", 50.0, 10.0), (identity or name).encode(), FRAME, LOGITS)


def test_as_many_apps_are_let_in_as_can_be_planned_together() -> None:
    registry = Registry(most=2)
    first = live("one")
    registry.add(first)
    registry.add(live("two"))
    with pytest.raises(Overloaded, match="2 apps are connected, and 2 can be planned together; register when one"):
        registry.add(live("three"))
    registry.remove(first)
    registry.add(live("three"))
    assert [app.spec.app_id for app in registry.all()] == ["three", "two"]


class _Regained(LiveApp):
    """Gets a route again just when it has been asked whether it has a reason for having none."""

    @property
    def stranded(self) -> Any:
        return next(self.reasons)

    @stranded.setter
    def stranded(self, reason: Any) -> None:
        self.reasons = iter((lambda: StoreFault("damaged"), None))


def test_the_reason_for_having_no_route_may_go_while_it_is_asked_for() -> None:
    app = _Regained(App("one", "m", 50.0, 10.0), b"one", FRAME, LOGITS)
    assert isinstance(app.without_route(), StoreFault)


def test_a_second_app_on_a_connection_or_of_a_name_is_refused_for_that_though_there_is_no_room() -> None:
    registry = Registry(most=1)
    registry.add(live("one"))
    with pytest.raises(AlreadyRegistered):
        registry.add(live("two", identity="one"))
    with pytest.raises(NameTaken):
        registry.add(live("one", identity="another"))
