"""Whether what operators set is kept, and what is said about it: with a real file, and a thread aside that waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from schedulerd.control.aside import AtOnce
from schedulerd.control.keeper import FORGETFUL, WAITING, Keeper
from schedulerd.control.overrides import FILE_NAME, NONE, Overrides, OverridesFile
from schedulerd.errors import Overloaded

FIRST, SECOND = Overrides("min-latency"), Overrides("min-energy")
KEPT = {"kept": True, "kept_reason": None}


class Waiting:
    """An `Aside` whose jobs the test does."""

    def __init__(self, room: int = 8) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.room = room

    def put(self, job: Callable[[], None]) -> None:
        if len(self.jobs) >= self.room:
            raise Overloaded("full")
        self.jobs.append(job)

    def ending(self) -> bool:
        return False

    def work(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()


def told(keeper: Keeper) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    keeper.tell(answers.append)
    return answers


def test_it_is_in_force_at_once_and_told_when_the_disk_has_it(tmp_path: Path) -> None:
    aside = Waiting()
    keeper = Keeper(OverridesFile(tmp_path), aside)
    keeper.set(FIRST)
    answers = told(keeper)
    assert keeper.overrides is FIRST
    assert answers == [], "nothing is said before it is known"
    aside.work()
    assert answers == [KEPT]
    assert Keeper(OverridesFile(tmp_path), aside).overrides == FIRST


def test_what_is_set_while_the_disk_is_busy_is_written_in_order(tmp_path: Path) -> None:
    aside = Waiting()
    keeper = Keeper(OverridesFile(tmp_path), aside)
    keeper.set(FIRST)
    first = told(keeper)
    keeper.set(SECOND)
    second = told(keeper)
    aside.work()
    assert (first, second) == ([KEPT], [KEPT])
    assert OverridesFile(tmp_path).load() == SECOND


def test_a_disk_that_refuses_is_told_with_its_reason_and_the_next_edit_tries_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("in the way")
    keeper = Keeper(OverridesFile(state), AtOnce())
    keeper.set(FIRST)
    (answer,) = told(keeper)
    assert not answer["kept"]
    assert "exists" in answer["kept_reason"] or "directory" in answer["kept_reason"]
    assert keeper.overrides is FIRST, "in force all the same"
    state.unlink()
    keeper.set(SECOND)
    assert told(keeper) == [KEPT]


def test_nothing_new_is_not_written_again(tmp_path: Path) -> None:
    keeper = Keeper(OverridesFile(tmp_path), AtOnce())
    keeper.tend()
    assert not (tmp_path / FILE_NAME).exists()
    assert told(keeper) == [KEPT]


def test_where_too_much_waits_it_is_written_at_a_later_turn(tmp_path: Path) -> None:
    aside = Waiting(room=0)
    keeper = Keeper(OverridesFile(tmp_path), aside)
    keeper.set(FIRST)
    assert told(keeper) == [{"kept": False, "kept_reason": WAITING}]
    aside.room = 1
    keeper.tend()
    aside.work()
    assert told(keeper) == []
    aside.work()
    assert OverridesFile(tmp_path).load() == FIRST


def test_a_stop_writes_what_still_waits_and_only_that(tmp_path: Path) -> None:
    keeper = Keeper(OverridesFile(tmp_path), Waiting())
    keeper.close()
    assert not (tmp_path / FILE_NAME).exists()
    keeper.set(FIRST)
    keeper.close()
    assert OverridesFile(tmp_path).load() == FIRST


def test_who_is_to_forget_says_so_and_reads_nothing(tmp_path: Path) -> None:
    OverridesFile(tmp_path).save(FIRST)
    keeper = Keeper(None, AtOnce())
    assert keeper.overrides == NONE
    keeper.set(SECOND)
    assert told(keeper) == [{"kept": False, "kept_reason": FORGETFUL}]
    keeper.close()
    assert OverridesFile(tmp_path).load() == FIRST
