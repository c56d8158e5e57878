"""Which processes stand still, from what the kernel says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.serving.stopped import LOOKS, StoppedWatch


def tell(proc: Path, pid: int, state: str, name: str = "camera") -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {state} 1 4242 4242 0 -1 4194304 92 0 0 0 0 0 0 0 20 0 1")


@pytest.mark.parametrize("state", ["T", "t"])
def test_a_process_that_stands_still_at_every_look_is_given_up(tmp_path: Path, state: str) -> None:
    tell(tmp_path, 42, state)
    watch = StoppedWatch(tmp_path)
    looks = [watch.look({b"cam": 42}) for _ in range(LOOKS)]
    assert looks == [[]] * (LOOKS - 1) + [[b"cam"]]


@pytest.mark.parametrize("state", ["S", "R", "D", "Z"])
def test_a_process_that_waits_or_runs_is_not(tmp_path: Path, state: str) -> None:
    tell(tmp_path, 42, state, name="a) T (b")
    watch = StoppedWatch(tmp_path)
    assert [watch.look({b"cam": 42}) for _ in range(2 * LOOKS)] == [[]] * 2 * LOOKS


def test_one_that_went_on_or_said_something_in_between_counts_from_the_beginning(tmp_path: Path) -> None:
    watch = StoppedWatch(tmp_path)
    tell(tmp_path, 42, "T")
    for _ in range(LOOKS - 1):
        watch.look({b"cam": 42})
    watch.look({})
    assert [watch.look({b"cam": 42}) for _ in range(LOOKS - 1)] == [[]] * (LOOKS - 1)
    tell(tmp_path, 42, "S")
    assert watch.look({b"cam": 42}) == []
    tell(tmp_path, 42, "T")
    assert [watch.look({b"cam": 42}) for _ in range(LOOKS)] == [[]] * (LOOKS - 1) + [[b"cam"]]


def test_one_that_is_hidden_or_has_ended_is_left_to_its_socket(tmp_path: Path) -> None:
    watch = StoppedWatch(tmp_path)
    assert [watch.look({b"cam": 7, b"other": None}) for _ in range(LOOKS)] == [[]] * LOOKS
