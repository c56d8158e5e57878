"""Trial: what finished variants are worth, through the files that are served."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx, nn

from blockstore.accuracy_model import Route
from blockstore.block import ORIGINAL
from blockstore.build.checkpoint import Work
from blockstore.build.cut import cut
from blockstore.build.export import Forms, export
from blockstore.build.images import Labelled
from blockstore.build.tasks.base import Outputs, Reference, Score
from blockstore.build.tasks.classification import Classification
from blockstore.build.trial import Circumstances, Trial
from blockstore.build.variants import Finished, keep
from tests.blockstore.build import networks

ROUTES = list(product(range(2), range(2)))


@cache
def exported(network: Callable[[], nn.Module], other: float) -> list[tuple[int, str, Forms]]:
    """Two blocks of the network, with a variant of each whose weights are `other` times as large."""
    frames, made = networks.frames(2), []
    for block in cut(networks.traced(network()), 2, lambda *_: 1.0, lambda *_: True).blocks:
        for name, module in ((ORIGINAL, block.module), (f"times{other}", scaled(block.module, other))):
            made.append((block.index, name, export(module, block.input, frames)))
        frames = block.module(frames)
    return made


def finished(folder: Path, network: Callable[[], nn.Module] = networks.residual, other: float = 0.5) -> list[Finished]:
    return [keep(Work(folder), block, name, name, forms, {}) for block, name, forms in exported(network, other)]


def heads() -> nn.Module:
    torch.manual_seed(2)
    return networks.Heads().eval()


def scaled(module: fx.GraphModule, factor: float) -> fx.GraphModule:
    made = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(factor)
    return made


@dataclass(frozen=True)
class Looked:
    """A tally of a task that notes what it is shown."""

    images: int

    def __add__(self, other: Looked) -> Looked:
        return Looked(self.images + other.images)

    def score(self) -> Score:
        return Score(self.images / 100)


class Looking:
    """A task, and its own reference, that notes the outputs it is shown: `(first image, their shapes)`."""

    key = "looking"

    def __init__(self) -> None:
        self.originals: list[Outputs] = []
        self.shown: list[tuple[int, tuple[tuple[int, ...], ...]]] = []

    def check(self, data: Labelled, classes: tuple[str, ...]) -> None:
        """Any will do."""

    def reference(self, originals: Iterable[Outputs], data: Labelled) -> Reference:
        self.originals = list(originals)
        return self

    def tally(self, outputs: Outputs, first: int) -> Looked:
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        self.shown.append((first, tuple(part.shape for part in parts)))
        return Looked(len(parts[0]))


def circumstances(folder: Path, task: Looking | Classification) -> Circumstances:
    data = networks.Noise().held_out()
    outputs = networks.traced(networks.residual()).outputs
    return Circumstances(task, data, outputs, batch_size=6, workers=1, kept=Work(folder))


def measured(folder: Path, about: Circumstances, other: float = 0.5) -> Mapping[Route, Score]:
    return Trial(finished(folder, other=other), about).scores(ROUTES, lambda *_: None)


def test_the_originals_do_what_the_network_does_and_ruined_ones_do_not(tmp_path: Path) -> None:
    about = circumstances(tmp_path, Classification())
    trial = Trial(finished(tmp_path, other=-1.0), about)
    assert trial.widths == [2, 2]
    scores = trial.scores(ROUTES, lambda *_: None)
    assert list(scores) == ROUTES
    assert scores[0, 0] == Score(1.0, {"agreement": 1.0, "top1": 1.0})
    assert scores[1, 1].accuracy < 1.0


def test_several_outputs_are_taken_apart_before_the_task_sees_them(tmp_path: Path) -> None:
    network, task = heads(), Looking()
    about = replace(circumstances(tmp_path, task), outputs=networks.traced(network).outputs)
    Trial(finished(tmp_path, heads), about).scores([(0, 1)], lambda *_: None)
    shapes = [tuple((n, *spec.shape) for spec in about.outputs) for n in (6, 6, 6, 2)]
    assert task.shown == list(zip((0, 6, 12, 18), shapes, strict=True))
    given = network(networks.PREPROCESS(torch.from_numpy(about.data.images[:6])))
    expected = [*given["boxes"], *given["scores"]]
    for got, wanted in zip(task.originals[0], expected, strict=True):
        np.testing.assert_allclose(got, wanted.detach().numpy(), atol=1e-4)


def test_what_is_kept_is_not_measured_again(tmp_path: Path) -> None:
    first, again = Looking(), Looking()
    scores = measured(tmp_path, circumstances(tmp_path, first))
    assert len(first.shown) == len(ROUTES) * 4
    assert measured(tmp_path, circumstances(tmp_path, again)) == scores
    assert again.shown == []


@pytest.mark.parametrize("what", ["images", "labels", "batch", "variant"])
def test_in_other_circumstances_it_is_measured_anew(tmp_path: Path, what: str) -> None:
    task = Looking()
    about = circumstances(tmp_path, task)
    measured(tmp_path, about)
    task.shown.clear()
    data = about.data
    changed = {
        "images": replace(about, data=Labelled(data.images[::-1].copy(), data.labels)),
        "labels": replace(about, data=Labelled(data.images)),
        "batch": replace(about, batch_size=5),
        "variant": about,
    }
    measured(tmp_path, changed[what], other=0.25 if what == "variant" else 0.5)
    # Of another variant of both blocks all routes but the original's are new.
    assert len(task.shown) == (3 if what == "variant" else 4) * 4


@pytest.mark.parametrize("workers", [2, 3, 9])
def test_scores_do_not_depend_on_the_number_of_workers(tmp_path: Path, workers: int) -> None:
    alone = measured(tmp_path / "one", circumstances(tmp_path / "one", Classification()), other=-1.0)
    about = replace(circumstances(tmp_path / "many", Classification()), workers=workers)
    assert measured(tmp_path / "many", about, other=-1.0) == alone


def test_progress_ends_at_the_number_of_routes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    trial = Trial(finished(tmp_path), circumstances(tmp_path, Looking()))
    trial.scores(ROUTES, lambda done, total: seen.append((done, total)))
    assert seen == [(0, 4), (4, 4)]
