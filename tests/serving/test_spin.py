"""Waits spin after a short wait, on a board with cores to spare, and only then."""

from __future__ import annotations

from schedulerd.serving.spin import SPIN_S, SpinningWait
from tests.fakes import FakeClock

POLL_S = 0.000_002
CLIENT, WAKE = 5, 6
"""Descriptors."""


class Socket:
    """Polls on a fake clock: something arrives `after_s` from the moment the wait begins."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.name = CLIENT
        self.arrives_s = 0.0
        self.sleeps = 0
        self.looks = 0

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        self.clock.advance(POLL_S)
        if seconds == 0:
            self.looks += 1
        else:
            self.sleeps += 1
            self.clock.advance(min(max(0.0, self.arrives_s - self.clock.now_s()), seconds))
        return [(self.name, 1)] if self.clock.now_s() >= self.arrives_s else []


class Waits:
    def __init__(self, *, may_spin: bool = True) -> None:
        self.socket = Socket()
        self.waiting = SpinningWait(self.socket.poll, self.socket.clock, may_spin=may_spin, wake=WAKE)

    def __call__(self, after_s: float, wait_s: float = 0.5) -> tuple[bool, int, int]:
        """Whether something was ready, and how often the wait slept and looked."""
        self.socket.arrives_s = self.socket.clock.now_s() + after_s
        self.socket.sleeps = self.socket.looks = 0
        ready = self.waiting.wait(wait_s)
        return bool(ready), self.socket.sleeps, self.socket.looks


def test_an_app_that_asks_again_at_once_is_met_by_a_spin() -> None:
    waits = Waits()
    assert waits(0.000_1) == (True, 1, 0)
    for _ in range(3):
        ready, sleeps, looks = waits(0.000_1)
        assert ready
        assert sleeps == 0
        assert 40 <= looks <= 51


def test_a_steady_camera_costs_no_spin() -> None:
    waits = Waits()
    for _ in range(5):
        assert waits(0.033) == (True, 1, 0)


def test_a_spin_in_vain_is_the_last_and_bounded() -> None:
    waits = Waits()
    waits(0.000_1)
    ready, sleeps, looks = waits(0.033)
    assert ready
    assert sleeps == 1
    assert 0 < looks <= SPIN_S / POLL_S + 1
    assert waits(0.033) == (True, 1, 0)


def test_a_wait_that_ends_empty_is_no_reason_to_spin() -> None:
    waits = Waits()
    assert waits(0.01, wait_s=0.000_1)[0] is False
    assert waits(0.01)[2] == 0


def test_a_wake_of_another_thread_is_no_arrival() -> None:
    waits = Waits()
    waits.socket.name = WAKE
    assert waits(0.000_1) == (True, 1, 0)
    assert waits(0.000_1) == (True, 1, 0)


def test_a_wake_does_not_hide_that_clients_ask_at_once() -> None:
    waits = Waits()
    waits(0.000_1)
    waits.socket.name = WAKE
    waits(0.033)
    waits.socket.name = CLIENT
    assert waits(0.000_1)[1] == 0


def test_a_wait_is_never_shorter_than_asked() -> None:
    waits = Waits()
    assert waits(0.000_3, wait_s=0.000_4) == (True, 1, 0)


def test_where_it_may_not_it_never_spins() -> None:
    waits = Waits(may_spin=False)
    for _ in range(3):
        assert waits(0.000_1) == (True, 1, 0)


def test_a_look_without_waiting_is_one_poll() -> None:
    waits = Waits()
    waits(0.000_1)
    assert waits(0.000_1, wait_s=0.0) == (False, 0, 1)
