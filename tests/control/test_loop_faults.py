"""A turn that fails because of a fault of ours: nothing that came is lost, and whoever waits is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from schedulerd.control.board_watch import BoardWatch
from schedulerd.serving.events import Asked, Joined, Left
from schedulerd.wire.messages import Code, Failure, Registered, SetBudget
from tests.control.stage import LIMITS, Stage


class Blind(BoardWatch):
    """Fails to look at the board as often as it is told."""

    faults = 0

    def look(self, *seen: Any) -> None:
        """As the base class, or a fault."""
        if self.faults:
            self.faults -= 1
            raise TypeError("a fault of ours")
        super().look(*seen)


class Broken(list[Any]):
    """Events that cannot be published any more."""

    def append(self, _: Any) -> None:
        """A fault."""
        raise TypeError("a fault of ours")


@pytest.fixture
def board() -> Blind:
    return Blind(LIMITS)


@pytest.fixture
def stage(board: Blind) -> Iterator[Stage]:
    made = Stage(board=board)
    yield made
    made.switcher.close()


def test_what_came_before_a_look_that_failed_is_the_next_turns(stage: Stage, board: Blind) -> None:
    board.faults = 2
    app = stage.live()
    with pytest.raises(TypeError):
        stage.loop.turn([Joined(app, 7)])
    with pytest.raises(TypeError):
        stage.loop.turn([Asked(SetBudget(3, "cam", 8.0), b"operator")])
    assert (stage.replies, stage.answers) == ([], [])
    stage.loop.turn([])
    assert isinstance(stage.replies[-1][1], Registered)
    assert stage.answers[-1].result["budget_ms"] == 8.0


def test_whoever_waits_while_a_turn_fails_is_told_and_the_rest_comes_next(stage: Stage) -> None:
    first, gone = stage.join("first"), stage.join("gone")
    stage.registry.remove(gone)
    published, stage.events = stage.events, Broken()
    late = stage.live("late")
    # The event of the second edit cannot be told; the first one waits for its plan, and what follows has yet to come.
    edits = [Asked(SetBudget(1, "nobody", 9.0), b"a"), Asked(SetBudget(2, "first", 9.0), b"b")]
    with pytest.raises(TypeError):
        stage.loop.turn([Joined(late, 8), *edits, Left(gone, "it left")])
    refused = stage.replies[-1][1]
    assert isinstance(refused, Failure)
    assert (refused.id, refused.code) == (8, Code.INTERNAL)
    assert [(answer.id, answer.code) for answer in stage.answers] == [(1, Code.UNKNOWN_APP)]
    stage.events = published
    stage.loop.turn([])
    assert [app.app_id for app in stage.loop.plan.apps] == ["first"]
    assert first.route is not None
