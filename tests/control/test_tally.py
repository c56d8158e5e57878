"""Counts over the life of the daemon never fall."""

from __future__ import annotations

from schedulerd.control.tally import Tally, Totals
from schedulerd.plan import App, Route, RouteChange
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.meter import Observation
from schedulerd.wire.messages import Code
from tests.serving.parts import FRAME, LOGITS

ONE, OTHER = Route("m", ("a",), ("A",)), Route("m", ("b",), ("B",))


def live(name: str) -> LiveApp:
    """An app that has answered one request too late and refused another."""
    app = LiveApp(App(name, "m", 50.0, 10.0), name.encode(), FRAME, LOGITS)
    app.meter.add(Observation(1.0, 60.0, 60.0, False, (60.0,), (), 1))
    app.meter.refuse(Code.OVERLOADED)
    return app


def test_moves_from_one_route_to_another_are_counted() -> None:
    tally = Tally()
    tally.changed([RouteChange("cam", None, ONE), RouteChange("door", None, ONE)])
    assert tally.swaps == {}
    tally.changed([RouteChange("cam", ONE, OTHER), RouteChange("door", ONE, None)])
    tally.changed([RouteChange("cam", OTHER, ONE)])
    assert tally.swaps == {"cam": 2}


def test_totals_keep_what_apps_counted_that_have_left() -> None:
    tally, cam, door = Tally(), live("cam"), live("door")
    tally.changed([RouteChange("cam", ONE, OTHER)])
    together = tally.totals([cam, door])
    assert together == Totals(requests=2, misses=2, refused=2, swaps=1)
    tally.left(cam)
    assert tally.totals([door]) == together
    assert tally.swaps == {}
