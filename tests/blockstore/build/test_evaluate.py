"""Evaluate: routes are run as a tree, and tallied batch by batch."""

from __future__ import annotations

import numpy as np
import pytest

from blockstore.build.evaluate import Runner, merged, refer, route_tallies
from blockstore.build.images import Labelled
from blockstore.build.tasks.base import Array, Outputs
from blockstore.build.tasks.classification import Classification

IMAGES = np.arange(5 * 3, dtype=np.uint8).reshape(5, 1, 3, 1)
LABELS = np.array([2, 2, 2, 2, 0])
DATA = Labelled(IMAGES, LABELS)
ROUTES = [(0, 0), (0, 1)]


class Network:
    """Two blocks of one and two variants; the last variant turns the classes round. Notes what was run."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.blocks = [
            [self._noting("flatten", lambda x: x.reshape(len(x), 3))],
            [self._noting("same", lambda x: x), self._noting("turned", lambda x: np.flip(x, axis=1))],
        ]

    def _noting(self, name: str, compute: Runner) -> Runner:
        def run(x: Array) -> Outputs:
            self.runs.append(f"{name} {len(x)}")
            return compute(x)

        return run


def test_each_shared_beginning_runs_once_per_batch() -> None:
    network = Network()
    reference = refer(Classification(), network.blocks, DATA, batch_size=3)
    assert network.runs == ["flatten 3", "same 3", "flatten 2", "same 2"]
    network.runs.clear()
    route_tallies(network.blocks, ROUTES, DATA.images, 0, reference, 3)
    assert network.runs == ["flatten 3", "same 3", "turned 3", "flatten 2", "same 2", "turned 2"]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 9])
def test_accuracy_does_not_depend_on_the_batches(batch_size: int) -> None:
    network = Network()
    reference = refer(Classification(), network.blocks, DATA, batch_size)
    tallies = route_tallies(network.blocks, ROUTES, DATA.images, 0, reference, batch_size)
    assert {route: tally.score().accuracy for route, tally in tallies.items()} == {(0, 0): 0.8, (0, 1): 0.2}


def test_slices_of_the_images_add_up_to_the_whole() -> None:
    network = Network()
    reference = refer(Classification(), network.blocks, DATA, 2)
    whole = route_tallies(network.blocks, ROUTES, DATA.images, 0, reference, 2)
    first = route_tallies(network.blocks, ROUTES, DATA.images[:3], 0, reference, 2)
    rest = route_tallies(network.blocks, ROUTES, DATA.images[3:], 3, reference, 2)
    assert merged(first, rest) == whole
