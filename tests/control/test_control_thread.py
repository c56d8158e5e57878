"""The thread that owns the decisions: what it turns, and how it shares the cores."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from typing import cast

import pytest

from schedulerd.clock import SystemClock
from schedulerd.control.loop import ControlLoop
from schedulerd.control.thread import ControlThread
from schedulerd.plan import App
from schedulerd.serving.apps import LiveApp
from schedulerd.serving.events import Event, Left
from tests.serving.parts import FRAME, LOGITS

PATIENCE_S = 10.0
OWN_POLICY = os.sched_getscheduler(0)


class Loop:
    """Notes under which scheduling policy it is turned; the first turn fails."""

    is_at_rest = False

    def __init__(self) -> None:
        self.policies: list[int] = []
        self.turned_twice = threading.Event()

    def turn(self, _events: Sequence[Event]) -> None:
        self.policies.append(os.sched_getscheduler(threading.get_native_id()))
        if len(self.policies) == 1:
            raise RuntimeError("a fault of ours")
        self.turned_twice.set()


@pytest.fixture
def loop() -> Loop:
    """A loop that has been turned twice by a thread that has ended."""
    turned = Loop()
    thread = ControlThread(queue.SimpleQueue(), 0.001, SystemClock())
    thread.attach(cast(ControlLoop, turned))
    thread.start()
    assert turned.turned_twice.wait(PATIENCE_S)
    thread.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    return turned


def test_a_turn_that_fails_is_not_the_last(loop: Loop) -> None:
    assert len(loop.policies) >= 2


def test_it_takes_no_core_from_a_lane_when_it_wakes(loop: Loop) -> None:
    assert set(loop.policies) == {os.SCHED_BATCH}
    assert os.sched_getscheduler(0) == OWN_POLICY


class Resting:
    """A loop without apps, on a daemon whose tick is short; turned once, it has had enough."""

    is_at_rest = True

    def __init__(self) -> None:
        self.turned = threading.Event()
        self.events: list[Event] = []

    def turn(self, events: Sequence[Event]) -> None:
        self.events += events
        self.turned.set()


def test_an_app_that_comes_ends_a_rest_at_once() -> None:
    """The first turn comes with the event, and not with the tick: that is a thousand times shorter than a rest."""
    waiting: queue.SimpleQueue[Event] = queue.SimpleQueue()
    resting, thread = Resting(), ControlThread(waiting, 0.001, SystemClock())
    thread.attach(cast(ControlLoop, resting))
    left = Left(LiveApp(App("cam", "m", 50.0, 10.0), b"cam", FRAME, LOGITS), "it unregistered")
    waiting.put(left)
    thread.start()
    assert resting.turned.wait(PATIENCE_S)
    thread.stop()
    thread.join(PATIENCE_S)
    assert resting.events == [left]
