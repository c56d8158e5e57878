"""Heads that learn on routes of the store beside heads that learn behind the originals alone, both on drawn routes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.backbones import MEAN, STD
from benchmarks.exits_study import SEED, SETS, Study
from benchmarks.harness import Figure
from blockstore.block import TensorSpec
from blockstore.build import pipeline
from blockstore.build.checkpoint import Work
from blockstore.build.craft import craft_all
from blockstore.build.exits.features import Variants
from blockstore.build.exits.learning import Learner
from blockstore.build.exits.material import Judge, lessons
from blockstore.build.exits.school import School
from blockstore.build.kinds.registry import parse_all
from blockstore.build.progress import Progress
from blockstore.build.settings import BuildSettings

VARIANTS = ("prune:0.5", "prune:0.75", "int8", "skip:1")
IMAGES = 10_000
"""Training images that variants are retrained on."""
LESSON = 15_000
"""Those that heads learn on with."""
EXTRA_EPOCHS = 1


def routes_gain(made: Study, folder: Path, threads: int, quick: bool, progress: Progress) -> dict[str, Figure]:
    """Points of accuracy, over all exits, that learning on drawn routes adds on drawn routes of unseen images.

    Both sides go on from the heads of the study, which have learnt behind originals, for as many batches.
    """
    school = _school(made, folder, threads, quick, progress)
    judge = Judge(school.subject.task, school.variants, made.images.test)
    found: dict[str, list[float]] = {}
    for name, sampled in (("originals", 0.0), ("routes", 0.5)):
        learners = _copies(made.broad["flexdnn"].learners)
        own = replace(school, lessons=replace(school.lessons, sampled=sampled))
        own.teach(learners)
        drawn = own.look(learners, made.images.test, None)
        behind = own.look(learners, made.images.test, school.variants.original)
        found[f"{name}_on_routes"] = [100 * float(judge.worth(logits).mean()) for logits in drawn.logits]
        found[f"{name}_on_originals"] = [100 * float(judge.worth(logits).mean()) for logits in behind.logits]
    gains = [b - a for a, b in zip(found["originals_on_routes"], found["routes_on_routes"], strict=True)]
    return {"routes_gain": Figure(sum(gains) / len(gains), "points", None, found)}


def _copies(learners: Sequence[Learner]) -> list[Learner]:
    return [replace(learner, head=copy.deepcopy(learner.head)) for learner in learners]


def _school(made: Study, folder: Path, threads: int, quick: bool, progress: Progress) -> School:
    """The school of the study with variants of the blocks, retrained as a build does it."""
    learning = made.images.learning
    images = learning.part(0, min(IMAGES, len(learning)))
    settings = BuildSettings(
        "routes",
        TensorSpec("uint8", (32, 32, 3)),
        MEAN,
        STD,
        variants=VARIANTS,
        epochs=1 if quick else 2,
        processes=threads,
    )
    work = Work(folder)
    task, output = made.school.subject.task, made.school.subject.output
    order = pipeline.order_of(settings, parse_all(VARIANTS), len(made.blocks), images, work, task, (output,))
    finished, _ = craft_all(made.blocks, order, settings.processes, progress)
    variants = Variants.load(finished, threads)
    subject = replace(made.school.subject, finished=finished)
    pace = replace(SETS["flexdnn"], epochs=EXTRA_EPOCHS, augment=True)
    taught = lessons(
        variants, learning.part(0, min(LESSON, len(learning))), pace.batch_size, pace.sampled, pace.augment
    )
    judge = Judge(subject.task, variants, subject.validation)
    return School(subject, pace, variants, taught, judge, SEED + 1, progress)
