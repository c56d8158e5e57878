"""Exits for a model whose variants are finished; open this file first.

    heads at the cuts -> teach on routes of the store -> prune (FlexDNN) -> calibrate -> plan where they pay -> policies

Every other file of this package is one of these steps. Blocks are not touched: exits are added to a chain that runs as
well without them. Heads that have learnt are kept in the work folder; a build that is killed before teaches them anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from blockstore.block import TensorSpec
from blockstore.build.checkpoint import Work
from blockstore.build.craft import computing
from blockstore.build.cut import CutBlock
from blockstore.build.exits import confidence as measures
from blockstore.build.exits.features import Variants
from blockstore.build.exits.finish import Attached, finish
from blockstore.build.exits.forms import check_confidence
from blockstore.build.exits.keeping import dump, restored
from blockstore.build.exits.learning import Learner
from blockstore.build.exits.material import Judge, lessons
from blockstore.build.exits.school import School, Subject, learners_of
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.images import Labelled
from blockstore.build.kinds.base import Declined
from blockstore.build.manifest import Sink
from blockstore.build.progress import Progress
from blockstore.build.tasks.base import Task
from blockstore.build.tasks.classification import Classification
from blockstore.errors import CannotBuild
from blockstore.exits import MAX_EXITS

_FILE = "exits.safetensors"


def check(
    settings: ExitSettings, task: Task, outputs: Sequence[TensorSpec], blocks: Sequence[CutBlock], training: Labelled
) -> None:
    """Refuse, before hours of work, exits that cannot be."""
    _, confidence = measures.resolve(settings.measure, task)
    if len(outputs) > 1:
        raise CannotBuild(
            f"the network has {len(outputs)} outputs: exits are for networks that have one; leave them out"
        )
    if len(blocks) < 2:
        raise CannotBuild("the network is one block: an exit stands between two; ask for more blocks or for other cuts")
    places = settings.places(len(blocks))
    if len(places) > MAX_EXITS:
        raise CannotBuild(f"{len(places)} exits; the limit is {MAX_EXITS}: name the blocks with --exits-after")
    if settings.weights and len(settings.weights) != len(places):
        raise CannotBuild(f"{len(settings.weights)} weights for {len(places)} exits: give one for each, or none")
    check_confidence(confidence, outputs[0])
    _check_labels(task, outputs[0], training)
    _check_training(blocks, training)


def _check_labels(task: Task, output: TensorSpec, training: Labelled) -> None:
    if not isinstance(task, Classification) or training.labels is None:
        return
    labels, classes = training.class_labels(), output.shape[0]
    if labels.min() < 0 or labels.max() >= classes:
        raise CannotBuild(
            f"exits: the training labels are from {labels.min()} to {labels.max()}, for {classes} classes they are from"
            f" 0 to {classes - 1}; without labels exits learn what the network itself says"
        )


def _check_training(blocks: Sequence[CutBlock], training: Labelled) -> None:
    """Heads learn from what the engine makes of frames, and its blocks take frames of one size."""
    if len(training) < 2:
        raise CannotBuild(f"{len(training)} training image: exits normalise over batches of at least 2")
    if training.images.shape[1:] != blocks[0].input.shape:
        shape = "x".join(map(str, training.images.shape[1:]))
        raise CannotBuild(
            f"training images are {shape}, exits learn from frames of the model's own size, {blocks[0].input}: give"
            " such images by a further method of the data, train_full()"
        )


def attach(
    subject: Subject, settings: ExitSettings, threads: int, seed: int, work: Work, store: Sink, progress: Progress
) -> Attached:
    """Exits of the model whose variants are finished, their blobs in `store`. Raises `CannotBuild`."""
    with computing(threads):
        variants = Variants.load(subject.finished, threads)
        variants.check(subject.blocks, subject.validation.images[:1])
        # Numbers of classes teach nothing where outputs are no classes.
        training = subject.training if isinstance(subject.task, Classification) else subject.training.unlabelled()
        taught = lessons(variants, training, settings.batch_size, settings.sampled, settings.augment)
        judge = Judge(subject.task, variants, subject.validation)
        school = School(subject, settings, variants, taught, judge, seed, progress)
        learners = _kept(school, work)
        if learners is None:
            try:
                learners = school.learnt()
            except Declined as reason:
                raise CannotBuild(str(reason)) from reason
            work.put(_FILE, dump(learners, _about(school)))
        return finish(school, learners, store)


def _about(school: School) -> str:
    """What decides what heads become, besides what names the work folder."""
    variants = [[f.block, f.name, f.digest] for f in school.subject.finished]
    return json.dumps([asdict(school.settings), school.seed, variants], sort_keys=True)


def _kept(school: School, work: Work) -> list[Learner] | None:
    """Heads that an interrupted build has taught; None where there are none of these settings."""
    data, subject = work.get(_FILE), school.subject
    learners = learners_of(subject.blocks, subject.output, school.settings, subject.task, school.seed)
    if data is None or not restored(data, learners, _about(school), subject.specs, subject.output):
        return None
    return learners
