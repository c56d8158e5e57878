"""What a throttle teaches, and the file that it is kept in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schedulerd.control.learned_heat import FILE_NAME, Learned, Memory, after_full_clocks, after_throttle

ZONES = [("cpu", 78.04, 45.0), ("disk", 80.0, 79.0)]
KNOWN = Learned(clock_share=0.6, sustained=0.42, throttled_c=(("cpu", 78.0),))


def test_the_zone_that_has_risen_most_is_what_the_clocks_fell_for() -> None:
    assert after_throttle(Learned(), ZONES, 0.6, 0.7) == KNOWN
    assert KNOWN.trip_c("cpu") == 78.0
    assert KNOWN.trip_c("disk") is None


def test_the_lowest_clocks_and_temperatures_are_kept_and_the_latest_that_was_sustained() -> None:
    milder = after_throttle(KNOWN, [("cpu", 82.0, 45.0)], 0.8, 0.7)
    assert milder == Learned(0.6, 0.56, (("cpu", 78.0),))
    assert after_throttle(KNOWN, [("cpu", 76.0, 45.0)], 0.5, 0.7) == Learned(0.5, 0.35, (("cpu", 76.0),))


def test_clocks_that_nobody_can_read_teach_where_it_happened() -> None:
    assert after_throttle(Learned(), ZONES, 1.0, 0.7) == Learned(throttled_c=(("cpu", 78.0),))


@pytest.mark.parametrize("zones", [[], [("cpu", 47.0, 45.0)]], ids=["no zones", "none has risen"])
def test_where_no_zone_has_risen_nothing_is_learned_of_any(zones: list[tuple[str, float, float]]) -> None:
    assert after_throttle(Learned(), zones, 0.6, 0.7).throttled_c == ()


def test_a_throttle_while_nothing_is_used_says_nothing_of_what_can_be() -> None:
    assert after_throttle(KNOWN, ZONES, 0.5, 0.0).sustained == KNOWN.sustained


@pytest.mark.parametrize(("celsius", "fell_c"), [(60.0, 78.0), (79.9, 78.0), (80.14, 80.1)])
def test_a_zone_that_gets_hotter_at_full_clocks_is_not_what_they_fell_for(celsius: float, fell_c: float) -> None:
    known = after_full_clocks(KNOWN, [("cpu", celsius, 45.0), ("disk", 90.0, 45.0)])
    assert known == Learned(0.6, 0.42, (("cpu", fell_c),))
    assert after_full_clocks(KNOWN, []) == KNOWN


def test_it_is_known_after_a_restart(tmp_path: Path) -> None:
    Memory(tmp_path / "state").save(KNOWN)
    assert Memory(tmp_path / "state").load() == KNOWN
    Memory(tmp_path / "state").save(Learned())
    assert Memory(tmp_path / "state").load() == Learned()
    assert [path.name for path in (tmp_path / "state").iterdir()] == [FILE_NAME], "nothing is left half-written"


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert Memory(tmp_path).load() == Learned()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"throttled_c": []}',
        '{"throttled_c": {"cpu": "hot"}}',
        '{"throttled_c": {"cpu": 1e9}}',
        '{"throttled_c": {"cpu": NaN}}',
        '{"throttled_c": {}, "clock_share": 7}',
        '{"throttled_c": {}, "sustained": true}',
        "[" * 60000,
        "\udcff",
    ],
)
def test_a_file_that_makes_no_sense_is_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(content.encode(errors="surrogateescape"))
    assert Memory(tmp_path).load() == Learned()


def test_what_a_file_lacks_is_not_known(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps({"throttled_c": {"cpu": 78.0}, "later": 1}))
    assert Memory(tmp_path).load() == Learned(throttled_c=(("cpu", 78.0),))


def test_a_disk_that_takes_nothing_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder is to be")
    Memory(tmp_path / "state").save(KNOWN)
    assert Memory(tmp_path / "state").load() == Learned()
