"""What the loop does for itself is not done where the board lacks the memory for another process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schedulerd.control.background import PROCESS_BYTES, Background, has_room
from schedulerd.control.merging import SETTLED_S
from schedulerd.control.snapshot import Snapshot
from tests.control.test_merger import MB, Stage


def seen(free_bytes: int | None) -> Snapshot:
    return Snapshot(0.0, 2, memory_available_bytes=free_bytes)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "merged")
    yield made
    made.merger.close()
    made.switcher.close()


def turn(stage: Stage, free_bytes: int | None, seconds: float = 0.0) -> None:
    stage.clock.advance(seconds)
    Background(None, stage.merger).merge(
        stage.plan, stage.apps, stage.catalogue, 100 * MB, seen(free_bytes), lambda kind, body: None
    )


def test_free_memory_that_nobody_can_tell_is_taken_to_be_enough() -> None:
    assert [has_room(seen(free)) for free in (None, PROCESS_BYTES, PROCESS_BYTES - 1)] == [True, True, False]


def test_nothing_is_tried_where_memory_is_short(stage: Stage) -> None:
    stage.go(cam="abc")
    turn(stage, PROCESS_BYTES - 1)
    turn(stage, PROCESS_BYTES - 1, SETTLED_S)
    assert stage.trials == []
    turn(stage, None)
    assert len(stage.trials) == 1


def test_a_trial_is_ended_when_memory_gets_short(stage: Stage) -> None:
    stage.go(cam="abc")
    turn(stage, PROCESS_BYTES)
    turn(stage, PROCESS_BYTES, SETTLED_S)
    assert not stage.trials[0].closed
    turn(stage, PROCESS_BYTES - 1)
    assert stage.trials[0].closed
