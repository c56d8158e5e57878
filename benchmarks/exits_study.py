"""Heads of every method on one network, taught side by side on the same features, and what each saw of the images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.backbones import MEAN, STD, Backbone, Parts, bfloat16
from blockstore.block import ORIGINAL, TensorSpec
from blockstore.build import pipeline
from blockstore.build.checkpoint import Work
from blockstore.build.cut import CutBlock
from blockstore.build.exits.confidence import Confidence, entropy, max_probability
from blockstore.build.exits.features import Variants
from blockstore.build.exits.finish import costs_of
from blockstore.build.exits.insertion import Costs, insertion_plan
from blockstore.build.exits.keeping import dump, restored
from blockstore.build.exits.learning import Learner
from blockstore.build.exits.material import Judge, lessons, tempered
from blockstore.build.exits.policies import by_precision
from blockstore.build.exits.school import School, Subject, learners_of
from blockstore.build.exits.seen import Seen
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.export import export
from blockstore.build.progress import Progress
from blockstore.build.settings import BuildSettings
from blockstore.build.tasks.classification import Classification
from blockstore.build.teacher import Teacher
from blockstore.build.variants import Finished, keep

SETS = {
    "branchynet": ExitSettings("branchynet"),
    "flexdnn": ExitSettings("flexdnn"),
    "mxn": ExitSettings("mxn"),
    "aggregated": ExitSettings("mxn", gamma=0.0),
}
METHODS = ("branchynet", "flexdnn", "mxn")
GIVEN = "branchynet"
ABLATIONS = ("aggregated",)
"""Differs from `flexdnn` in aggregation alone, and from `mxn` in the loss alone."""
PRUNED = ("flexdnn", "mxn")
EPOCHS = 3
PRECISION = 0.99
SEED = 0


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads of one method at some places."""

    learners: Sequence[Learner]
    confidence: Sequence[Confidence]
    """Of each head, with its temperature."""
    temperatures: Sequence[float]
    costs: Costs
    """Multiply-adds."""
    held_back: Seen
    test: Seen
    raw: Seen
    """Of the test images, as the heads have learnt to be sure: largest probabilities that nothing has calibrated."""

    def of(self, numbers: Sequence[int]) -> Heads:
        """Some of the heads."""
        upto = (*(self.costs.upto[i] for i in numbers), self.costs.whole)
        return Heads(
            [self.learners[i] for i in numbers],
            [self.confidence[i] for i in numbers],
            [self.temperatures[i] for i in numbers],
            Costs(upto, tuple(self.costs.heads[i] for i in numbers)),
            self.held_back.of(numbers),
            self.test.of(numbers),
            self.raw.of(numbers),
        )

    def planned(self) -> tuple[int, ...]:
        """FlexDNN's insertion plan, made on the held-back images."""
        thresholds = torch.tensor(by_precision(self.held_back, PRECISION), dtype=torch.float64).numpy()
        return insertion_plan(self.held_back.confidence >= thresholds[:, None], self.costs)


@dataclass(frozen=True, eq=False)
class Study:
    """One network with the heads of all methods."""

    name: str
    blocks: Sequence[CutBlock]
    finished: Sequence[Finished]
    broad: Mapping[str, Heads]
    """Of each method of `SETS`, at all places, as they have learnt."""
    final: Mapping[str, Heads]
    """Of each method, at all places, when all have learnt for as long: pruned, where the method prunes."""
    school: School
    """With the images; its settings are the pace at which heads learnt."""
    images: Parts


def study(
    backbone: Backbone, network: nn.Module, images: Parts, folder: Path, epochs: int, threads: int, progress: Progress
) -> Study:
    """Teach, prune and look; heads that have learnt are kept in `folder` and used again."""
    settings = BuildSettings(backbone.name, TensorSpec("uint8", (32, 32, 3)), MEAN, STD, cuts=backbone.cuts)
    traced = pipeline.trace_network(network, settings)
    blocks = pipeline.divide(traced, settings).blocks
    finished = _originals(blocks, images, Work(folder / backbone.name))
    subject = Subject(blocks, finished, traced.output, Classification(), images.learning, images.held_back, images.test)
    variants = Variants.load(finished, threads)
    pace = ExitSettings("flexdnn", epochs=epochs, augment=True)
    taught = lessons(variants, images.learning, pace.batch_size, pace.sampled, pace.augment)
    judge = Judge(subject.task, variants, images.held_back)
    school = School(subject, pace, variants, taught, judge, SEED, progress)
    sets = {
        name: learners_of(blocks, traced.output, SETS[name], subject.task, SEED)
        for name in (*METHODS, *(ABLATIONS if backbone.ablations else ()))
    }
    final = _taught(school, sets, folder / f"{backbone.name}-{epochs}")
    unseen = Judge(subject.task, variants, images.test)
    return Study(
        backbone.name,
        blocks,
        finished,
        {name: _looked(school, unseen, learners, name) for name, learners in sets.items()},
        {name: _looked(school, unseen, learners, name) for name, learners in final.items()},
        school,
        images,
    )


def _taught(school: School, sets: Mapping[str, list[Learner]], path: Path) -> dict[str, list[Learner]]:
    """Let all heads learn, in place, then prune those of the methods that prune; both are kept beside `path`.

    Heads that are not pruned learn on for as long as the others do while they are. Those that are not kept learn
    together, from the same batches as those that are have learnt from.
    """
    waiting = [name for name, own in sets.items() if not _are_kept(school, own, _file(path, name, "taught"))]
    if waiting:
        with bfloat16():
            school.teach([learner for name in waiting for learner in sets[name]])
        for name in waiting:
            _keep(school, sets[name], _file(path, name, "taught"))
    longer = {name: [replace(ln, head=copy.deepcopy(ln.head)) for ln in sets[name]] for name in METHODS}
    if not _are_kept(school, longer[GIVEN], _file(path, GIVEN, "longer")):
        with bfloat16():
            for number in range(1, school.settings.rounds + 1):
                school.round(longer[GIVEN], number)
        _keep(school, longer[GIVEN], _file(path, GIVEN, "longer"))
    if not all(_are_kept(school, longer[name], _file(path, name, "pruned")) for name in PRUNED):
        with bfloat16():
            found = school.prune([learner for name in PRUNED for learner in sets[name]])
        places = len(found) // len(PRUNED)
        for i, name in enumerate(PRUNED):
            longer[name] = found[i * places : (i + 1) * places]
            _keep(school, longer[name], _file(path, name, "pruned"))
    return longer


def _file(path: Path, name: str, what: str) -> Path:
    return path.with_name(f"{path.name}-{name}.{what}")


def _about(school: School, learners: Sequence[Learner]) -> str:
    """What decides what heads become: backbone, images, pace, and what they are."""
    digests = [finished.digest for finished in school.subject.finished]
    heads = [(ln.inputs, ln.head.design.pooling, ln.head.design.strided) for ln in learners]
    return f"{asdict(school.settings)} {len(school.subject.training)} {digests} {heads}"


def _keep(school: School, learners: Sequence[Learner], path: Path) -> None:
    path.write_bytes(dump(learners, _about(school, learners)))


def _are_kept(school: School, learners: list[Learner], path: Path) -> bool:
    """Whether the heads that `learners` became are kept; they have them then."""
    if not path.exists():
        return False
    about = _about(school, learners)
    return restored(path.read_bytes(), learners, about, school.subject.specs, school.subject.output)


def _originals(blocks: Sequence[CutBlock], images: Parts, work: Work) -> list[Finished]:
    """The blocks as they are, written for the engine."""
    teacher = Teacher(blocks)
    found = []
    for block in blocks:
        inputs, _ = next(teacher.lessons(block.index, images.learning.images[:8], 8))
        found.append(keep(work, block.index, ORIGINAL, ORIGINAL, export(block.module, block.input, inputs), {}))
    return found


def _looked(school: School, unseen: Judge, learners: Sequence[Learner], name: str) -> Heads:
    """Heads with what they make of the held-back images, on which they are calibrated, and of the test images."""
    measure = entropy if name == "branchynet" else max_probability
    route = school.variants.original
    own = school.look(learners, school.subject.validation, route)
    test = school.look(learners, school.subject.unseen, route)
    temperatures = [school.judge.temperature([logits]) for logits in own.logits]
    sure = [tempered(measure, temperature) for temperature in temperatures]
    return Heads(
        learners,
        sure,
        temperatures,
        costs_of(school, learners),
        own.seen(school.judge.worth, sure),
        test.seen(unseen.worth, sure),
        test.seen(unseen.worth, [max_probability] * len(learners)),
    )
