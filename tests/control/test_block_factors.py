"""Which blocks differ from the board, seen from requests on the test's own clock."""

from __future__ import annotations

import pytest

from schedulerd.control.block_factors import FORGET_S, BlockFactors, drifted
from schedulerd.serving.meter import Observation
from schedulerd.serving.route import Expected, ExpectedBlock

TRIO: Expected = tuple(ExpectedBlock(n, ("abc"[n],), "onnxruntime", 1.0, 2.0, 3.0) for n in range(3))
FAST: Expected = (*TRIO[:2], ExpectedBlock(2, ("fast",), "onnxruntime", 0.5, 1.0, 1.5))


class Run:
    """Factors of one app whose requests come at 20 Hz."""

    def __init__(self) -> None:
        self.factors = BlockFactors()
        self.now_s = 100.0

    def frames(
        self, count: int, *blocks_ms: float, board: float = 1.0, expected: Expected = TRIO, alone: bool = True
    ) -> None:
        for _ in range(count):
            self.now_s += 0.05
            seen = Observation(self.now_s, 1.0, 1.0, True, blocks_ms, expected)
            self.factors.add("cam", seen, board, alone=alone)
            self.factors.look(self.now_s)
        self.wait(1.0)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.factors.look(self.now_s)

    def blobs(self) -> dict[str, float]:
        return {digest: factor for (_, _, digest), factor in self.factors.blobs().items()}


def test_a_block_that_is_persistently_off_is_found_and_the_others_stay() -> None:
    run = Run()
    run.frames(100, 1.0, 1.3, 1.05)
    assert run.blobs() == {"a": 1.0, "b": 1.3, "c": 1.0}


def test_a_load_that_slows_all_blocks_is_the_boards() -> None:
    run = Run()
    run.frames(100, 2.0, 2.6, 2.0, board=2.0)
    assert run.blobs() == {"a": 1.0, "b": 1.3, "c": 1.0}


def test_blocks_of_apps_that_take_turns_are_compared_with_cold_rows() -> None:
    run = Run()
    run.frames(100, 2.0, 2.0, 2.0, alone=False)
    assert run.blobs() == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_slow_frames_now_and_then_change_nothing() -> None:
    run = Run()
    for _ in range(20):
        run.frames(4, 1.0, 1.0, 1.0)
        run.frames(1, 1.0, 20.0, 1.0)
    assert run.blobs() == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_a_moment_says_nothing() -> None:
    run = Run()
    run.frames(15, 1.0, 1.5, 1.0)
    assert run.blobs() == {}


def test_blocks_that_wait_for_a_core_now_and_then_are_not_told_apart_by_a_few_requests() -> None:
    """Each request loses 4 ms in one of its blocks, and by chance it is the second one most of the time."""
    run = Run()
    for hit in [1, 0, 1, 2, 1, 0, 1, 2, 1, 1]:
        run.frames(1, *(5.0 if block == hit else 1.0 for block in range(3)), board=2.0)
    assert set(run.blobs().values()) <= {1.0}


def test_blocks_that_are_not_told_apart_make_up_what_is_missing_of_the_whole() -> None:
    """The lane is stopped in each request, in the second block or in the third; the first is short and never hit."""
    run = Run()
    for _ in range(100):
        run.frames(1, 1.0, 4.0, 1.0, board=2.0)
        run.frames(1, 1.0, 1.0, 4.0, board=2.0)
    blobs = run.blobs()
    assert blobs["a"] == 0.5
    assert sum(blobs.values()) == pytest.approx(3.0, abs=0.1), "the whole is what the board is: two seconds of six"


def test_what_is_known_of_a_block_stays_when_its_requests_become_erratic() -> None:
    run = Run()
    run.frames(300, 1.0, 1.3, 1.0)
    for number in range(100):
        run.frames(3, 1.0, (0.5, 1.0, 3.0)[number % 3], 1.0)
    assert run.blobs()["b"] == 1.3


def test_frames_that_leave_early_tell_of_the_blocks_that_they_ran() -> None:
    run = Run()
    run.frames(100, 1.3)
    assert run.blobs() == {"a": 1.3}


def test_factors_are_bounded() -> None:
    run = Run()
    run.frames(100, 90.0, 0.01, 1.0)
    assert run.blobs() == {"a": 4.0, "b": 0.5, "c": 1.1}, (
        "the last one clearly is as its row says, within the dead band"
    )


def test_what_was_learned_of_a_blob_stays_known_when_another_one_runs() -> None:
    """Else it would come back, be found slow, make way, and so on."""
    run = Run()
    run.frames(100, 1.0, 1.0, 1.4)
    run.frames(100, 1.0, 1.0, 0.5, expected=FAST)
    assert run.blobs() == {"a": 1.0, "b": 1.0, "c": 1.4, "fast": 1.0}
    assert run.factors.engines()["cam", 2, "onnxruntime"] == 1.0


def test_a_blob_that_has_not_run_for_long_is_taken_at_its_row_again() -> None:
    run = Run()
    run.frames(100, 1.0, 1.0, 1.4)
    run.wait(FORGET_S - 10)
    assert run.blobs()["c"] == 1.4
    run.wait(20.0)
    assert run.blobs() == {}


def test_a_block_that_gets_well_is_seen_to_be() -> None:
    run = Run()
    run.frames(100, 1.0, 1.0, 1.4)
    run.frames(300, 1.0, 1.0, 1.0)
    assert run.blobs()["c"] == 1.0


def test_a_merged_session_tells_of_all_its_blocks() -> None:
    merged = (TRIO[0], ExpectedBlock(1, ("b", "c"), "onnxruntime", 2.0, 4.0, 6.0))
    run = Run()
    run.frames(100, 1.0, 2.6, expected=merged)
    assert run.blobs() == {"a": 1.0, "b": 1.3, "c": 1.3}
    assert set(run.factors.engines()) == {("cam", n, "onnxruntime") for n in range(3)}


def test_an_app_that_left_and_an_old_profile_are_forgotten() -> None:
    run = Run()
    run.frames(100, 1.0, 1.0, 1.4)
    run.factors.forget("door")
    assert run.blobs()
    run.factors.forget("cam")
    assert not run.blobs()
    run.frames(100, 1.0, 1.0, 1.4)
    run.factors.forget()
    assert not run.blobs()


def test_only_changes_of_more_than_a_step_count_as_drift() -> None:
    one, two = ("cam", 0, "a"), ("cam", 1, "b")
    assert drifted({one: 1.0}, {one: 1.15, two: 0.9}) == {}
    assert drifted({one: 1.0}, {one: 1.2, two: 0.8}) == {one: 1.2, two: 0.8}
    assert drifted({one: 1.5}, {}) == {one: 1.0}
