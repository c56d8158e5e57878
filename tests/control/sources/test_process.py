"""What this process takes."""

from __future__ import annotations

import resource

import pytest

from schedulerd.control.sources.process import ProcessSource, own_usage
from tests.fakes import FakeClock


def test_own_share_is_of_all_cores() -> None:
    clock = FakeClock()
    used = iter([(1000, 5.0), (2000, 6.0)])
    source = ProcessSource(clock, lambda: next(used), cpu_count=4)
    assert source.read() == {"memory_own_bytes": 1000, "cpu_own": None}
    clock.advance(0.5)
    assert source.read() == {"memory_own_bytes": 2000, "cpu_own": pytest.approx(0.5)}


def test_a_clock_that_stands_still_leaves_the_share_unread() -> None:
    source = ProcessSource(FakeClock(), lambda: (1000, 5.0))
    source.read()
    assert source.read()["cpu_own"] is None


def test_this_process_has_a_resident_set_and_has_used_a_core() -> None:
    resident_bytes, cpu_s = own_usage()
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 10**6 < resident_bytes <= 1.1 * peak_bytes
    assert cpu_s > 0
