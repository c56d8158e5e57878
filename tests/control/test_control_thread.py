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
from schedulerd.serving.events import Event

PATIENCE_S = 10.0
OWN_POLICY = os.sched_getscheduler(0)


class Loop:
    """Notes under which scheduling policy it is turned; the first turn fails."""

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
