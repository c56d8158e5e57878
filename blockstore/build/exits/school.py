"""Where the heads of a model learn and are looked at: its blocks, its images, and how they are taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

import numpy as np
import torch

from blockstore.accuracy_model import Route
from blockstore.block import TensorSpec
from blockstore.build.cut import CutBlock
from blockstore.build.exits import heads, losses
from blockstore.build.exits.features import Variants, steps
from blockstore.build.exits.learning import Learner, Pace, teach
from blockstore.build.exits.material import Judge, Lessons, Look, look
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.exits.slimming import search
from blockstore.build.images import Labelled
from blockstore.build.progress import Progress
from blockstore.build.tasks.base import Task
from blockstore.build.tasks.classification import Classification
from blockstore.build.variants import Finished

ROUND_SHARE: Final = 0.25
"""Of an epoch, that pruned heads learn in each round."""
ROUND_RATE: Final = 0.5
"""Their learning rate, as a share of that of heads that begin anew."""
LEAST_BATCHES: Final = 30
"""Of a round: running averages of normalisation forget what was before a cut at a tenth a batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What exits are attached to, and the images for it."""

    blocks: Sequence[CutBlock]
    finished: Sequence[Finished]
    output: TensorSpec
    task: Task
    training: Labelled
    validation: Labelled
    """Temperatures, thresholds and the plan are searched on these: the network has not learnt from them."""
    unseen: Labelled
    """What the policies do is measured on these."""

    def specs(self, inputs: Sequence[int]) -> tuple[TensorSpec, ...]:
        """What a head takes that looks at the outputs of these blocks."""
        return tuple(self.blocks[block].output for block in inputs)


@dataclass(frozen=True, slots=True, eq=False)
class School:
    """Teaches heads on routes of the variants, and lets them look at validation images."""

    subject: Subject
    settings: ExitSettings
    variants: Variants
    lessons: Lessons
    judge: Judge
    """Of the validation images."""
    seed: int
    progress: Progress

    def learnt(self) -> list[Learner]:
        """Heads at all places, taught and, where the method prunes, pruned. Raises `Declined`."""
        learners = learners_of(self.subject.blocks, self.subject.output, self.settings, self.subject.task, self.seed)
        self.teach(learners)
        return learners if self.settings.method == "branchynet" else self.prune(learners)

    def teach(self, learners: Sequence[Learner]) -> None:
        """Let heads learn for all epochs."""
        self._teach(learners, self._pace(self.settings.epochs * self._epoch, 1.0, "teach exits"), self.seed)

    def prune(self, learners: Sequence[Learner]) -> list[Learner]:
        """Heads that have learnt, without the filters and layers that they can spare."""
        numbers = iter(range(1, self.settings.rounds + 1))

        def teach_round(tried: Sequence[Learner]) -> None:
            self.round(tried, next(numbers))

        with torch.random.fork_rng(devices=[]):
            # Of the weights that begin anew.
            torch.manual_seed(self.seed)
            found = search(
                learners,
                lambda learner: self.subject.specs(learner.inputs),
                self.subject.output,
                teach_round,
                self._accuracies,
                self.settings.rounds,
            )
        return [state.learner for state in found]

    def round(self, learners: Sequence[Learner], number: int) -> None:
        """Let heads learn on for as long as pruned heads do in round `number`, from 1 on."""
        batches = max(LEAST_BATCHES, round(ROUND_SHARE * self._epoch))
        stage = f"prune exits {number}/{self.settings.rounds}"
        self._teach(learners, self._pace(batches, ROUND_RATE, stage), self.seed + number)

    @property
    def _epoch(self) -> int:
        """Batches in one."""
        return steps(1, len(self.lessons.images), self.settings.batch_size)

    def look(self, learners: Sequence[Learner], images: Labelled, route: Route | None) -> Look:
        """What learners make of `images` along `route`, or along one drawn for each batch."""
        draw = np.random.default_rng((self.seed, 2))
        return look(
            self.variants, learners, images.images, lambda: self.variants.drawn(draw) if route is None else route
        )

    def _pace(self, batches: int, rate: float, stage: str) -> Pace:
        return Pace(batches, rate * self.settings.learning_rate, partial(self.progress, stage))

    def _teach(self, learners: Sequence[Learner], pace: Pace, seed: int) -> None:
        wanted = sorted({block for learner in learners for block in learner.inputs})
        teach(learners, self.lessons.stream(wanted, seed), pace)

    def _accuracies(self, learners: Sequence[Learner]) -> list[float]:
        taken = self.look(learners, self.subject.validation, self.variants.original)
        return [float(self.judge.worth(logits).mean()) for logits in taken.logits]


def learners_of(
    blocks: Sequence[CutBlock], output: TensorSpec, settings: ExitSettings, task: Task, seed: int
) -> list[Learner]:
    """A head for every place, with weights drawn by the seed."""
    loss = _loss(settings, task)
    found: list[Learner] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for place in settings.places(len(blocks)):
            earlier = [learner.block for learner in found[-1:] if settings.method == "mxn"]
            inputs = (*(block for block in earlier if _can_pool(blocks, block, place)), place)
            design = _design(settings, blocks[place].output, aggregates=len(inputs) > 1)
            head = heads.Head(design, tuple(blocks[i].output for i in inputs), output)
            found.append(Learner(inputs, head, loss, settings.weights[len(found)] if settings.weights else 1.0))
    return found


def _loss(settings: ExitSettings, task: Task) -> losses.Loss:
    if not isinstance(task, Classification):
        return losses.imitation
    return losses.focal(settings.focus) if settings.focus else losses.cross_entropy


def _design(settings: ExitSettings, spec: TensorSpec, *, aggregates: bool) -> heads.Design:
    if settings.method == "branchynet":
        return heads.given(spec)
    return heads.broad(spec, cast(heads.Pooling, settings.pooling), aggregates)


def _can_pool(blocks: Sequence[CutBlock], earlier: int, own: int) -> bool:
    """Whether features of one block can be max-pooled to the size of another's."""
    before, here = blocks[earlier].output.shape, blocks[own].output.shape
    return len(before) == len(here) == 3 and before[1] >= here[1] and before[2] >= here[2]
