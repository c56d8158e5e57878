"""Measured: a build that was killed does not measure again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from blockstore.accuracy_model import Route
from blockstore.build.checkpoint import Work
from blockstore.build.measured import GROUP, NAME, Measured, measure_all, route_key
from blockstore.build.tasks.base import Score

ROUTES = [(i % 7, i) for i in range(2 * GROUP + 3)]


class Killed(Exception):  # what a user does, not an error
    """The build is killed."""


class Board:
    """Measures routes in groups; is killed in the one numbered `killed_in`."""

    def __init__(self, killed_in: int | None = None) -> None:
        self.groups: list[list[Route]] = []
        self._killed_in = killed_in

    def run(self, routes: Sequence[Route]) -> Mapping[Route, Score]:
        if len(self.groups) == self._killed_in:
            raise Killed
        self.groups.append(list(routes))
        return {route: Score(route[1] / 1000, {"agreement": 0.5}) for route in routes}


def key(route: Route) -> str:
    return route_key(["classification", "these images"], [f"digest-{v}" for v in route])


def measure(folder: Path, board: Board) -> dict[Route, Score]:
    return measure_all(ROUTES, key, board.run, Measured(Work(folder)), lambda *_: None)


def test_after_a_kill_only_the_rest_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "work"
    with pytest.raises(Killed):
        measure(path, Board(killed_in=1))
    board = Board()
    scores = measure(path, board)
    assert [len(group) for group in board.groups] == [GROUP, 3]
    assert scores == measure(tmp_path / "undisturbed", Board())
    assert list(scores) == ROUTES
    again = Board()
    assert measure(path, again) == scores
    assert again.groups == []
    assert [p.name for p in path.iterdir()] == [NAME]


def test_routes_of_a_group_share_their_beginnings(tmp_path: Path) -> None:
    board = Board()
    measure(tmp_path, board)
    assert [route for group in board.groups for route in group] == sorted(ROUTES)


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, keep: int) -> None:
    measure(tmp_path, Board())
    file = tmp_path / NAME
    file.write_bytes(file.read_bytes()[:keep])
    board = Board()
    scores = measure(tmp_path, board)
    assert sum(map(len, board.groups)) == len(ROUTES)
    assert scores == measure(tmp_path, Board(killed_in=0))


def test_a_measurement_is_known_by_what_ran_and_not_by_position() -> None:
    assert route_key(["c"], ["a", "b"]) == route_key(("c",), ("a", "b"))
    different = {route_key(["c"], ["a", "b"]), route_key(["c"], ["b", "a"]), route_key(["d"], ["a", "b"])}
    assert len(different | {route_key(["c", "a"], ["b"])}) == 4
