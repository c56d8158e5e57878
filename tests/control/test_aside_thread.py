"""The thread for what the control loop does not wait for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from schedulerd.control.aside_thread import ROOM, AsideThread
from schedulerd.errors import Overloaded

PATIENCE_S = 10.0


@pytest.fixture
def aside() -> Iterator[AsideThread]:
    thread = AsideThread()
    yield thread
    thread.close(PATIENCE_S)
    assert not thread.is_alive()


def test_jobs_run_in_order_on_a_thread_that_takes_no_core_from_a_frame(aside: AsideThread) -> None:
    seen: list[int] = []
    done = threading.Event()
    aside.put(lambda: seen.append(os.sched_getscheduler(threading.get_native_id())))
    aside.put(lambda: seen.append(threading.get_ident()))
    aside.put(done.set)
    aside.start()
    assert done.wait(PATIENCE_S)
    assert seen == [os.SCHED_BATCH, aside.ident]
    assert aside.ident != threading.get_ident()


def test_a_job_that_fails_is_not_the_last(aside: AsideThread) -> None:
    done = threading.Event()
    aside.put(lambda: [][0])
    aside.put(done.set)
    aside.start()
    assert done.wait(PATIENCE_S)


def test_more_jobs_than_there_is_room_for_are_refused(aside: AsideThread) -> None:
    for _ in range(ROOM):
        aside.put(lambda: None)
    with pytest.raises(Overloaded, match="8 questions wait already"):
        aside.put(lambda: None)


def test_a_job_learns_that_the_thread_is_to_end(aside: AsideThread) -> None:
    began, told = threading.Event(), threading.Event()

    def job() -> None:
        began.set()
        while not aside.ending():
            pass
        told.set()

    aside.put(job)
    aside.start()
    assert began.wait(PATIENCE_S)
    aside.close(PATIENCE_S)
    assert told.is_set()


def test_one_that_never_began_can_be_closed() -> None:
    AsideThread().close(PATIENCE_S)
