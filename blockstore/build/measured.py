"""Measured routes in the work folder, so that a build that was killed does not measure them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from blockstore.accuracy_model import Route
from blockstore.build.checkpoint import Work
from blockstore.build.tasks.base import Score

NAME: Final = "measured.json"
GROUP: Final = 32
"""Routes that are measured, and then kept, together: what a kill can lose."""


class Measured:
    """Scores by key, in one file of `work`; a file that is damaged counts as empty."""

    def __init__(self, work: Work) -> None:
        self._work = work
        kept = work.get_json(NAME) or {}
        self._scores = {key: Score(accuracy, figures) for key, (accuracy, figures) in kept.items()}

    def get(self, key: str) -> Score | None:
        """The score kept under `key` (see `route_key`)."""
        return self._scores.get(key)

    def add(self, scores: Mapping[str, Score]) -> None:
        """Keep `scores` too; the file is replaced whole. Raises `CannotBuild` where the disk refuses it."""
        self._scores |= scores
        self._work.put_json(NAME, {key: [s.accuracy, dict(s.figures)] for key, s in self._scores.items()})


def route_key(circumstances: Sequence[str], variants: Sequence[str]) -> str:
    """Name of a measurement.

    `circumstances` are whatever else decides the result: the task's key, a hash of images and labels, the batch size.
    `variants` are the digests of the artifacts that run, in order: positions change from build to build.
    """
    return hashlib.sha256(json.dumps([list(circumstances), list(variants)]).encode()).hexdigest()


def measure_all(
    routes: Iterable[Route],
    key: Callable[[Route], str],
    run: Callable[[Sequence[Route]], Mapping[Route, Score]],
    kept: Measured,
    progress: Callable[[int, int], None],
) -> dict[Route, Score]:
    """Scores of `routes`: the `kept` ones, and for the others what `run` gives for groups of up to `GROUP` of them.

    Neighbours in a group have long common beginnings, which run once.
    """
    routes = list(routes)
    missing = sorted({route for route in routes if kept.get(key(route)) is None})
    for start in range(0, len(missing), GROUP):
        progress(len(routes) - len(missing) + start, len(routes))
        group = missing[start : start + GROUP]
        kept.add({key(route): score for route, score in run(group).items()})
    progress(len(routes), len(routes))
    return {route: score for route in routes if (score := kept.get(key(route))) is not None}
