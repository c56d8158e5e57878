"""A source that is read on a thread of its own: nobody waits for it, and nobody takes old readings for new ones."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from schedulerd.control.sources.aside import Aside
from schedulerd.control.sources.base import Readings
from tests.fakes import PATIENCE_S, FakeClock


class Slow:
    """Answers when the test lets it, with what the test gives."""

    name = "slow"

    def __init__(self, every_s: float = 0.0) -> None:
        self.every_s = every_s
        self.answers: queue.SimpleQueue[Readings | Exception] = queue.SimpleQueue()
        self.reads = 0
        self.threads: set[threading.Thread] = set()
        self.policies: set[int] = set()

    def read(self) -> Readings:
        self.threads.add(threading.current_thread())
        self.policies.add(os.sched_getscheduler(threading.get_native_id()))
        self.reads += 1
        answer = self.answers.get(timeout=PATIENCE_S)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def aside(slow: Slow, clock: FakeClock) -> Iterator[Aside]:
    made = Aside(slow, clock, timeout_s=2.0, keep_s=10.0)
    yield made
    slow.answers.put({})
    made.close(PATIENCE_S)
    assert not any(thread.is_alive() for thread in slow.threads)


def until(holds: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_s, "it never came"
        time.sleep(0.001)


def error_of(aside: Aside) -> str | None:
    try:
        aside.read()
    except (OSError, ValueError) as error:
        return str(error)
    return None


def test_nobody_waits_for_a_read_and_the_next_look_has_it(aside: Aside, slow: Slow) -> None:
    assert aside.read() == {}
    assert aside.read() == {}
    slow.answers.put({"power_w": 5.0})
    until(lambda: aside.read() == {"power_w": 5.0})
    assert {thread.name for thread in slow.threads} == {"read-slow"}
    assert all(thread.daemon for thread in slow.threads)
    assert slow.policies == {os.SCHED_BATCH}, "it takes no core from a lane, whoever asks first"


def test_nothing_runs_before_the_first_read(slow: Slow, clock: FakeClock) -> None:
    threads = threading.active_count()
    aside = Aside(slow, clock)
    assert threading.active_count() == threads
    aside.close()


def test_readings_stand_while_the_next_are_made(aside: Aside, slow: Slow, clock: FakeClock) -> None:
    aside.read()
    slow.answers.put({"power_w": 5.0})
    until(lambda: aside.read() == {"power_w": 5.0})
    until(lambda: slow.reads == 2)
    assert aside.read() == {"power_w": 5.0}
    slow.answers.put({"power_w": 6.0})
    until(lambda: aside.read() == {"power_w": 6.0})
    assert len(slow.threads) == 1


def test_it_knows_how_old_its_readings_are(aside: Aside, slow: Slow, clock: FakeClock) -> None:
    """They are counted from when they were asked for, for nobody knows when in that time they were made."""
    assert aside.read_at_s is None
    aside.read()
    asked_at_s = clock.now_s()
    clock.advance(1.5)
    slow.answers.put({"power_w": 5.0})
    until(lambda: aside.read() != {})
    assert aside.read_at_s == asked_at_s


def test_a_source_is_asked_as_often_as_it_says(clock: FakeClock) -> None:
    seldom = Slow(every_s=10.0)
    aside = Aside(seldom, clock)
    seldom.answers.put({"power_w": 5.0})
    aside.read()
    until(lambda: aside.read() == {"power_w": 5.0})
    clock.advance(9.9)
    assert aside.read() == {"power_w": 5.0}
    seldom.answers.put({"power_w": 6.0})
    clock.advance(0.2)
    assert aside.read() == {"power_w": 5.0}
    until(lambda: aside.read() == {"power_w": 6.0})
    assert seldom.reads == 2
    aside.close(PATIENCE_S)


@pytest.mark.parametrize("jump_s", [400 * 86400.0, -400 * 86400.0])
def test_a_clock_that_jumps_only_has_it_asked_again(clock: FakeClock, jump_s: float) -> None:
    seldom = Slow(every_s=10.0)
    aside = Aside(seldom, clock)
    seldom.answers.put({"power_w": 5.0})
    aside.read()
    until(lambda: aside.read() == {"power_w": 5.0})
    clock.advance(jump_s)
    seldom.answers.put({"power_w": 6.0})
    until(lambda: aside.read() == {"power_w": 6.0})
    aside.close(PATIENCE_S)


def test_a_read_that_hangs_is_named_with_its_limit_until_it_returns(aside: Aside, slow: Slow, clock: FakeClock) -> None:
    aside.read()
    slow.answers.put({"power_w": 5.0})
    until(lambda: aside.read() == {"power_w": 5.0})
    until(lambda: slow.reads == 2)
    clock.advance(2.5)
    for _ in range(3):
        with pytest.raises(
            TimeoutError, match=r"slow has not answered for 2\.5 s, its limit is 2 s; it is asked again"
        ):
            aside.read()
    assert (slow.reads, len(slow.threads)) == (2, 1), "nothing piles up behind it"
    slow.answers.put({"power_w": 6.0})
    until(lambda: error_of(aside) is None)
    assert aside.read() == {"power_w": 6.0}


def test_old_readings_are_not_given(clock: FakeClock) -> None:
    """Nobody looked for a while, so nobody asked."""
    seldom = Slow(every_s=1.0)
    aside = Aside(seldom, clock, keep_s=10.0)
    seldom.answers.put({"power_w": 5.0})
    aside.read()
    until(lambda: aside.read() == {"power_w": 5.0})
    clock.advance(10.5)
    assert aside.read() == {}
    seldom.answers.put({"power_w": 6.0})
    until(lambda: aside.read() == {"power_w": 6.0})
    aside.close(PATIENCE_S)


def test_an_error_is_raised_until_a_read_succeeds(clock: FakeClock) -> None:
    """Who hears of it has the source asked again, so that it is known at the next look whether it is well."""
    seldom = Slow(every_s=1000.0)
    aside = Aside(seldom, clock, keep_s=10.0)
    seldom.answers.put(OSError("no such board"))
    seldom.answers.put(ValueError("a board of nonsense"))
    aside.read()
    until(lambda: error_of(aside) == "no such board")
    until(lambda: error_of(aside) == "a board of nonsense")
    until(lambda: seldom.reads == 3)
    assert error_of(aside) == "a board of nonsense"
    seldom.answers.put({"power_w": 5.0})
    until(lambda: error_of(aside) is None)
    assert aside.read() == {"power_w": 5.0}
    assert seldom.reads == 3
    aside.close(PATIENCE_S)


def test_an_error_that_is_raised_a_thousand_times_does_not_grow(clock: FakeClock) -> None:
    slow = Slow()
    aside = Aside(slow, clock)
    slow.answers.put(OSError("no such board"))
    aside.read()
    until(lambda: error_of(aside) is not None)
    for _ in range(1000):
        with pytest.raises(OSError, match="no such board") as caught:
            aside.read()
    assert len(caught.traceback) == 2
    slow.answers.put({})
    aside.close(PATIENCE_S)


def test_a_hung_read_does_not_hold_up_the_end(clock: FakeClock) -> None:
    hung = Slow()
    aside = Aside(hung, clock)
    aside.read()
    until(lambda: hung.reads == 1)
    aside.close(timeout_s=0.0)
    with pytest.raises(ValueError, match="slow is closed"):
        aside.read()
    hung.answers.put({})
    for thread in hung.threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "it ends when the read does"
