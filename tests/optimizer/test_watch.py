"""Calls on threads of their own: their results, their errors, and what is done about those that hang."""

from __future__ import annotations

import threading

import pytest

from schedulerd.optimizer.watch import Hung, Watch


def never(ended: threading.Event, timeout_s: float) -> bool:
    """A caller whose time is up at once."""
    return False


def test_a_call_gives_what_it_returns_or_raises() -> None:
    watch = Watch("work")
    assert watch.call(lambda: 7, 30.0) == 7
    with pytest.raises(ZeroDivisionError):
        watch.call(lambda: 1 // 0, 30.0)


def test_what_is_no_exception_reaches_the_caller_too() -> None:
    """Such as the end of a question that nobody waits for any more."""
    with pytest.raises(KeyboardInterrupt):
        Watch("work").call(_interrupted, 30.0)


def _interrupted() -> None:
    raise KeyboardInterrupt


def test_a_call_runs_on_another_thread() -> None:
    assert Watch("work").call(threading.get_ident, 30.0) != threading.get_ident()


def test_two_callers_do_not_wait_for_one_another() -> None:
    """A decision comes while a question is worked out aside."""
    watch, inner = Watch("work"), []
    watch.call(lambda: inner.append(watch.call(lambda: "other", 30.0)), 30.0)
    assert inner == ["other"]


def test_while_a_call_hangs_no_other_is_made() -> None:
    freed = threading.Event()
    watch, called = Watch("work", never), []
    with pytest.raises(Hung, match=r"work has not come back within 0.2 s"):
        watch.call(lambda: freed.wait(30), 0.2)
    with pytest.raises(Hung, match="work has not come back from an earlier call"):
        watch.call(lambda: called.append(1), 0.2)
    freed.set()
    assert called == []
