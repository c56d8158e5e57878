"""What a scene adds up, and what it draws."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from schedulerd.scenes.picture import board_shares, draw
from schedulerd.scenes.record import AppRecord, Reading, Sample, Turn, phase_summary, summary, swaps

FULL, SMALL = ("original", "original"), ("original", "pruned-50")


def sample(at_s: float, served_ms: float = 4.0, route: tuple[str, ...] = FULL, right: bool = True) -> Sample:
    return Sample(at_s, served_ms + 1.0, served_ms, 5.0, served_ms <= 5.0, right, 0.9, 1, route)


def record(*samples: Sample, sent: int | None = None) -> AppRecord:
    count = len(samples)
    return AppRecord("gate", "m", samples, count if sent is None else sent, count, (), ended=True)


def test_a_swap_is_a_change_between_two_replies() -> None:
    assert swaps([sample(0), sample(1), sample(2, route=SMALL), sample(3)]) == 2


def test_a_phase_knows_latency_misses_and_accuracy() -> None:
    seen = phase_summary([sample(0, 2.0), sample(1, 4.0, right=False), sample(2, 6.0), sample(3, 8.0)])
    assert (seen["served_p50_ms"], seen["served_p95_ms"], seen["round_trip_p95_ms"]) == (4.0, 8.0, 9.0)
    assert (seen["misses"], seen["accuracy"], seen["requests"]) == (2, 0.75, 4)


def test_a_phase_without_replies_has_no_figures() -> None:
    seen = phase_summary([])
    assert seen["requests"] == 0
    assert seen["accuracy"] is seen["served_p95_ms"] is None


def test_frames_without_a_label_are_neither_right_nor_wrong() -> None:
    unlabelled = [replace(sample(0.0), right=None), replace(sample(1.0), right=None)]
    assert phase_summary(unlabelled)["accuracy"] is None
    assert phase_summary([*unlabelled, sample(2.0)])["accuracy"] == 1.0


def test_samples_belong_to_the_phase_in_which_they_were_asked() -> None:
    turns = [Turn("calm", 10.0, "nothing"), Turn("hog", 12.0, "a hog", ("moved",))]
    told = summary([record(*(sample(at_s) for at_s in (9.0, 10.0, 11.9, 12.0, 13.0, 14.0)), sent=8)], turns, 14.0)
    assert [p["apps"]["gate"]["requests"] for p in told["phases"]] == [2, 2]
    assert [p["seconds"] for p in told["phases"]] == [2.0, 2.0]
    assert told["phases"][1]["did"] == ["moved"]
    assert (told["requests"], told["lost"]) == (8, 2)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scene.png"
    draw([record(sample(0.0), sample(1.0, 9.0, SMALL))], [Turn("calm", 0.0, "")], 2.0, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_picture_has_a_row_for_the_board(tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    known = {"resident_bytes": 4e6, "memory_limit_bytes": 8e6, "cpu_others": 0.5}
    readings = [
        Reading(0.0, known, {"temperature": 40.0, "stall": 0.1}, 1.0),
        Reading(1.0, {**known, "cpu_others": None}, {"temperature": 41.0, "stall": 0.2}, 1.1),
    ]
    shares = board_shares(readings)
    assert shares["memory limit"] == [2.0, 2.0]
    assert shares["stall"] == [0.1, 0.2]
    assert math.isnan(shares["others on the CPU"][1])
    draw([record(sample(0.0))], [Turn("calm", 0.0, "")], 2.0, path, readings)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_phase_knows_where_frames_left() -> None:
    early = [replace(sample(at_s), exit="exit1") for at_s in (0, 1, 2)]
    assert phase_summary([*early, sample(3)])["exit_rates"] == {"exit1": 0.75, "final": 0.25}
    assert phase_summary([sample(0), sample(1)])["exit_rates"] == {}
    assert phase_summary(early)["exit_rates"] == {"exit1": 1.0, "final": 0.0}
