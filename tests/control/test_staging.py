"""What can be loaded at once where memory is short: apps move one after the other, those first that free most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from schedulerd.control.staging import LOAD_PEAK, affordable, largest_loadable_bytes, needed_bytes
from schedulerd.plan import EMPTY_PLAN, AppPlan, Plan, Route

MB = 1_000_000
SIZES_MB = {"A": 8, "B": 8, "C": 4, "a": 3, "b": 2, "c": 4, "d": 5}
"""Capital letters run, the others are wanted."""
RUNNING = {"cam": "A", "door": "B", "gate": "C"}
WANTED = {"cam": "a", "door": "b", "gate": "d"}
PLENTY = 10**9


def plan_of(routes: Mapping[str, str]) -> Plan:
    apps = tuple(
        AppPlan(name, Route("m", tuple(digests), tuple(digests)), 2.0, 4.0, 0.9, MB, 0.1, (1.0,))
        for name, digests in routes.items()
    )
    return replace(EMPTY_PLAN, number=2, apps=apps)


def moved(
    free_bytes: int,
    running: Mapping[str, str] = RUNNING,
    wanted: Mapping[str, str] = WANTED,
    broken: frozenset[str] = frozenset(),
) -> set[str]:
    """Apps that move; those in `broken` cannot stay."""
    absent = {app: frozenset(digests) - frozenset("".join(running.values())) for app, digests in wanted.items()}
    stays = running.keys() - broken
    plan = affordable(
        plan_of(running), plan_of(wanted), absent, stays, free_bytes, lambda digest: SIZES_MB[digest] * MB
    )
    assert [app.app_id for app in plan.apps] == list(wanted)
    return {app.app_id for app in plan.apps if app.route.digests != tuple(running.get(app.app_id, ""))}


def test_where_there_is_memory_all_move() -> None:
    assert moved(PLENTY) == {"cam", "door", "gate"}
    whole = needed_bytes([SIZES_MB[digest] * MB for digest in "abd"])
    assert moved(whole) == {"cam", "door", "gate"}
    assert moved(whole - 1) == {"cam", "door"}


def test_what_frees_most_goes_first_and_what_has_no_room_stays() -> None:
    """`door` frees 6 MB, `cam` 5 MB, `gate` takes 1 MB."""
    assert moved(needed_bytes([2 * MB])) == {"door"}
    assert moved(needed_bytes([2 * MB]) - 1) == set()
    assert moved(needed_bytes([2 * MB, 3 * MB])) == {"door", "cam"}


def test_who_joins_is_served_and_what_is_in_memory_needs_no_room() -> None:
    assert moved(0, {"cam": "A"}, {"cam": "A", "new": "d"}) == {"new"}
    assert moved(0, {"cam": "A", "door": "B"}, {"cam": "B", "door": "A"}) == {"cam", "door"}


def test_what_an_app_cannot_go_on_with_is_replaced_whatever_it_takes() -> None:
    assert moved(0, broken=frozenset({"gate"})) == {"gate"}


def test_a_load_needs_several_times_what_it_leaves_for_the_largest_alone() -> None:
    assert needed_bytes([]) == 0
    assert needed_bytes([10 * MB]) == LOAD_PEAK * 10 * MB
    assert needed_bytes([MB, 10 * MB]) == MB + LOAD_PEAK * 10 * MB
    assert needed_bytes([largest_loadable_bytes(20 * MB)]) <= 20 * MB
