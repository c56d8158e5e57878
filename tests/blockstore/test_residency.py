"""Eviction: the limit holds where it can, nothing pinned goes, and nothing goes in vain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstore.residency import Eviction, Resident, evict, value_of


def _warm(digest: str, size_bytes: int, last_used_s: float, value: float = 0.0) -> Resident:
    return Resident(digest, size_bytes, value, last_used_s, pinned=False)


def _pinned(digest: str, size_bytes: int) -> Resident:
    return Resident(digest, size_bytes, 0.0, 0.0, pinned=True)


def test_nothing_goes_while_all_fits() -> None:
    """Warm variants are worth keeping: the next swap to them is free."""
    assert evict([_warm("a", 10, 1), _pinned("b", 20)], 10, 40) == Eviction((), 0)


def test_the_least_value_goes_first_however_recently_it_was_used() -> None:
    """And no more than needed; the caller learns how far its clock rises."""
    residents = [_warm("dear", 10, 1, value=3.0), _warm("cheap", 10, 9, value=1.0), _warm("fair", 10, 5, value=2.0)]
    assert evict(residents, 15, 35) == Eviction(("cheap",), 10, highest=1.0)
    assert evict(residents, 15, 25) == Eviction(("cheap", "fair"), 20, highest=2.0)


def test_of_equal_value_the_longest_unused_goes_first() -> None:
    residents = [_warm("new", 10, 3), _warm("old", 10, 1), _warm("middle", 10, 2)]
    assert evict(residents, 15, 35).digests == ("old",)


def test_a_variant_is_worth_its_load_for_every_route_that_it_was_on_and_byte_that_it_takes() -> None:
    """A clock that has risen lifts what is used now above what was worth as much and lies idle."""
    assert value_of(0.0, uses=1, load_ms=8.0, size_bytes=4) == 2.0
    assert value_of(0.0, uses=3, load_ms=8.0, size_bytes=4) == 6.0
    assert value_of(5.0, uses=1, load_ms=8.0, size_bytes=4) == 7.0
    assert value_of(5.0, uses=0, load_ms=8.0, size_bytes=4) == 5.0, "loaded in vain: the first to go"
    assert value_of(0.0, uses=1, load_ms=8.0, size_bytes=0) == 8.0


def test_of_equal_age_the_larger_goes_first() -> None:
    """Fewer reloads for the same bytes."""
    assert evict([_warm("small", 1, 1), _warm("large", 9, 1)], 0, 5).digests == ("large",)


def test_what_was_chosen_in_vain_stays() -> None:
    """The small old ones need not go when the large one must go anyway."""
    residents = [_warm("old", 1, 1), _warm("small", 2, 2), _warm("large", 100, 3)]
    assert evict(residents, 0, 50) == Eviction(("large",), 100, highest=0.0)


def test_pinned_variants_stay_though_the_limit_is_passed() -> None:
    """The caller learns by how much."""
    assert evict([_pinned("live", 50), _warm("warm", 10, 1)], 20, 60) == Eviction(("warm",), 10, 10, 0.0)


def test_a_limit_below_everything_frees_all_that_may_go() -> None:
    """Zero is a limit like any other."""
    assert evict([_warm("a", 5, 1), _pinned("b", 7)], 0, 0) == Eviction(("a",), 5, 7, 0.0)


RESIDENTS = st.lists(
    st.builds(
        Resident,
        digest=st.uuids().map(str),
        size_bytes=st.integers(0, 100),
        value=st.floats(0, 10),
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
    assert found.highest == max((r.value for r in gone), default=None)


@pytest.mark.parametrize("order", [1, -1])
def test_the_choice_does_not_depend_on_the_order_of_the_residents(order: int) -> None:
    """Equal in value, age and size, the digest decides."""
    residents = [_warm(name, 10, 1) for name in "abc"][::order]
    assert evict(residents, 0, 20).digests == ("a",)
