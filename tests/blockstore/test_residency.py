"""Eviction: the limit holds where it can, nothing pinned goes, and nothing goes in vain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstore.residency import Eviction, Resident, evict


def _warm(digest: str, size_bytes: int, last_used_s: float) -> Resident:
    return Resident(digest, size_bytes, last_used_s, pinned=False)


def _pinned(digest: str, size_bytes: int) -> Resident:
    return Resident(digest, size_bytes, 0.0, pinned=True)


def test_nothing_goes_while_all_fits() -> None:
    """Warm variants are worth keeping: the next swap to them is free."""
    assert evict([_warm("a", 10, 1), _pinned("b", 20)], 10, 40) == Eviction((), 0)


def test_the_longest_unused_goes_first() -> None:
    """And no more than needed."""
    residents = [_warm("new", 10, 3), _warm("old", 10, 1), _warm("middle", 10, 2)]
    assert evict(residents, 15, 35) == Eviction(("old",), 10)


def test_of_equal_age_the_larger_goes_first() -> None:
    """Fewer reloads for the same bytes."""
    assert evict([_warm("small", 1, 1), _warm("large", 9, 1)], 0, 5).digests == ("large",)


def test_what_was_chosen_in_vain_stays() -> None:
    """The small old ones need not go when the large one must go anyway."""
    residents = [_warm("old", 1, 1), _warm("small", 2, 2), _warm("large", 100, 3)]
    assert evict(residents, 0, 50) == Eviction(("large",), 100)


def test_pinned_variants_stay_though_the_limit_is_passed() -> None:
    """The caller learns by how much."""
    assert evict([_pinned("live", 50), _warm("warm", 10, 1)], 20, 60) == Eviction(("warm",), 10, short_bytes=10)


def test_a_limit_below_everything_frees_all_that_may_go() -> None:
    """Zero is a limit like any other."""
    assert evict([_warm("a", 5, 1), _pinned("b", 7)], 0, 0) == Eviction(("a",), 5, short_bytes=7)


RESIDENTS = st.lists(
    st.builds(
        Resident,
        digest=st.uuids().map(str),
        size_bytes=st.integers(0, 100),
        last_used_s=st.floats(0, 10),
        pinned=st.booleans(),
    ),
    max_size=12,
)


@given(residents=RESIDENTS, needed_bytes=st.integers(0, 200), limit_bytes=st.integers(0, 500))
def test_eviction_keeps_its_promises(residents: list[Resident], needed_bytes: int, limit_bytes: int) -> None:
    """Limit met or shortage told, pinned ones kept, and each one that goes was necessary."""
    found = evict(residents, needed_bytes, limit_bytes)
    gone = [r for r in residents if r.digest in found.digests]
    kept_bytes = sum(r.size_bytes for r in residents if r.digest not in found.digests)
    assert not any(r.pinned for r in gone)
    assert found.freed_bytes == sum(r.size_bytes for r in gone)
    assert found.short_bytes == max(0, kept_bytes + needed_bytes - limit_bytes)
    if found.short_bytes:
        assert all(r.pinned or r.size_bytes == 0 for r in residents if r not in gone)
    else:
        assert all(kept_bytes + r.size_bytes + needed_bytes > limit_bytes for r in gone)


@pytest.mark.parametrize("order", [1, -1])
def test_the_choice_does_not_depend_on_the_order_of_the_residents(order: int) -> None:
    """Equal in age and size, the digest decides."""
    residents = [_warm(name, 10, 1) for name in "abc"][::order]
    assert evict(residents, 0, 20).digests == ("a",)
