"""The offline stage from end to end; open this file first.

    trace -> cut into blocks -> craft variants (reshape, retrain, encode) -> measure accuracy -> attach exits -> time
          -> store

Each step is one file of this package. The model's manifest is put in the store last: an interrupted build leaves no
model behind. What it has done is kept in a work folder, and the same build goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from blockstore import torchform
from blockstore.accuracy_model import Route
from blockstore.block import Model, TensorSpec
from blockstore.build import accuracy, finetune, images, manifest, timing
from blockstore.build.built import Built, Timed
from blockstore.build.checkpoint import Work
from blockstore.build.costs import Costs
from blockstore.build.craft import Order, craft_all
from blockstore.build.cut import CutBlock, Division, cut, cut_at, cut_names
from blockstore.build.doubts import doubts
from blockstore.build.exits import attach, joint
from blockstore.build.exits.finish import Attached
from blockstore.build.exits.school import Subject
from blockstore.build.images import ImageSet, Labelled
from blockstore.build.kinds import registry
from blockstore.build.kinds.filters import prunable
from blockstore.build.latency import median_ms, medians_ms
from blockstore.build.manifest import Sink
from blockstore.build.progress import Progress
from blockstore.build.retrain import Course
from blockstore.build.settings import BuildSettings
from blockstore.build.tasks.base import Score, Task
from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.registry import parse_task
from blockstore.build.trace import Traced, trace
from blockstore.build.trial import Circumstances, Trial
from blockstore.build.variants import Finished
from blockstore.build.weights import check_network
from blockstore.durable import durable_file, make_folder
from blockstore.errors import CannotBuild
from blockstore.zoo.preprocess import Preprocess

Timer = Callable[[Model, Callable[[str], Path]], Timed]
"""Times the variants of a model, whose blobs are at the paths given by digest, inside whole routes."""


_WORK_FORMAT: Final = "schedulerd-work/1"
"""Changes when variants are made otherwise than before: work of an earlier release is not gone on from."""
_DECIDING_PACKAGES: Final = ("torch", "torch-pruning", "tensorly", "onnxruntime", "numpy")


def build(
    network: nn.Module,
    data: ImageSet,
    settings: BuildSettings,
    store: Sink,
    work: Path,
    progress: Progress,
    timer: Timer | None = None,
    tell: Callable[[Built], None] = lambda _: None,
) -> Built:
    """Cut `network`, make and retrain its variants, and put the model in `store`.

    `network` takes float32 `[batch, c, h, w]`. `work` is a folder for what an interrupted build goes on from. With a
    `timer`, variants that do not run, and those that another one beats (see `dominance`), are left out. `tell`
    gets what came of it (for a report) while the work is still there: a build that is killed even then goes on. Raises
    `CannotCut`, `UnsupportedOperator` or `CannotBuild`.
    """
    recipes, task = registry.parse_all(settings.variants), parse_task(settings.task)
    training, held_out = images.training(data, settings.input), images.held_out(data, settings.input)
    task.check(held_out, data.classes)
    finetune.check(settings.finetune, recipes, task, training, len(data.classes))
    costs = Costs()
    with costs.stage("cut"):
        progress("cut", 0, 1)
        traced = trace_network(network, settings)
        kept = Work(work / f"build-{settings.key(*_inputs(traced, training, task, settings))}")
        before = "going on with an interrupted build; " if kept.folder.is_dir() else ""
        division = _cut(traced, settings, kept)
        blocks = division.blocks
        progress("cut", 1, 1, before + "; ".join(f"{b.name} -> {b.output}" for b in blocks))
    _check_outputs(traced, task, data.classes)
    _check_size(blocks, training, settings)
    workers = settings.threads * settings.processes
    if settings.exits is not None:
        exit_training = images.training_for_exits(data, training, settings.input)
        attach.check(settings.exits, task, traced.outputs, blocks, exit_training)
        validation, unseen = images.for_exits(data, held_out, settings.input)
        for part in (validation, unseen):
            task.check(part, data.classes)
        joint.check(settings.exits, task, exit_training)
        if settings.exits.joint:
            with costs.stage("joint"):
                joint.train_jointly(
                    blocks, traced.output, settings.exits, exit_training, workers, settings.seed, kept, progress
                )
    with costs.stage("craft"):
        order = order_of(settings, recipes, len(blocks), training, kept, task, traced.outputs)
        finished, dropped = craft_all(blocks, order, settings.processes, progress)
    if settings.finetune:
        with costs.stage("finetune"):
            labels = training.class_labels()
            finished, lost = finetune.refine_all(settings.finetune, blocks, finished, order, labels, progress)
        dropped = (*dropped, *lost)
    with costs.stage("evaluate"):
        known = _assess(finished, traced, held_out, task, settings, kept, progress)
    attached = Attached()
    if settings.exits is not None:
        subject = Subject(blocks, finished, traced.output, task, exit_training, validation, unseen)
        with costs.stage("exits"):
            attached = attach.attach(subject, settings.exits, workers, settings.seed, kept, store, progress)
    counts = (len(training), len(held_out))
    model = manifest.model(blocks, finished, known, traced.outputs, settings, data.classes, counts, store)
    model = replace(model, exits=attached.exits, policies=attached.policies)
    with costs.stage("time"):
        progress("time", 0, 1)
        chosen = timing.choose(model, known.model, _timed(model, timer, store, kept)) if timer else timing.Chosen(model)
        progress("time", 1, 1)
    model, left_out = chosen.model, (*dropped, *chosen.left_out)
    store.put_model(model)
    assert model.accuracy_model is not None, "the manifest was made with one"
    built = Built(
        model,
        model.accuracy_model,
        chosen.latencies_ms,
        left_out,
        costs.all(),
        division.obstacle,
        (*chosen.remarks, *doubts(training, held_out, model.accuracy_model)),
        attached.removed,
    )
    tell(built)
    kept.remove()
    return built


def trace_network(network: nn.Module, settings: BuildSettings) -> Traced:
    """`network` behind its normalisation as one graph."""
    check_network(network)
    return trace(network, Preprocess(settings.mean, settings.std, settings.scale), settings.input)


def divide(traced: Traced, settings: BuildSettings) -> Division:
    """The blocks that `settings` ask for."""
    if settings.cuts:
        return cut_at(traced, settings.cuts)
    return cut(traced, settings.blocks, median_ms, prunable)


def _check_outputs(traced: Traced, task: Task, classes: Sequence[str]) -> None:
    """Refuse a network that does not tell these classes apart, before hours of work."""
    if isinstance(task, Classification) and traced.output.shape != (len(classes),):
        raise CannotBuild(f"the network gives {traced.output}, the data has {len(classes)} classes")


def _check_size(blocks: Sequence[CutBlock], training: Labelled, settings: BuildSettings) -> None:
    """Refuse training images of a size that the network does not take, before hours of work."""
    if training.images.shape[1:] == settings.input.shape:
        return
    try:
        with torch.no_grad():
            x = torch.from_numpy(training.images[:1])
            for block in blocks:
                x = block.module(x)
    except RuntimeError as error:
        shape = "x".join(map(str, training.images.shape[1:]))
        raise CannotBuild(f"training images are {shape}, the network takes only {settings.input}: {error}") from error


def _cut(traced: Traced, settings: BuildSettings, kept: Work) -> Division:
    """The blocks, cut where this build has cut before it was interrupted: latency is measured anew each time."""
    before = kept.get_json("cuts.json")
    if before is not None:
        names, obstacle = before
        return Division(cut_at(traced, names).blocks, obstacle)
    division = divide(traced, settings)
    kept.put_json("cuts.json", (cut_names(traced, division), division.obstacle))
    return division


def _images_file(kept: Work, training: Labelled) -> Path:
    """The training images as a file that processes map."""
    path = kept.folder / "images.npy"
    if not path.exists():
        make_folder(path.parent)
        with durable_file(path, path.parent, mode=0o644) as file:
            np.save(file, training.images, allow_pickle=False)
    return path


def order_of(
    settings: BuildSettings,
    recipes: tuple[registry.Recipe, ...],
    blocks: int,
    training: Labelled,
    kept: Work,
    task: Task,
    outputs: tuple[TensorSpec, ...],
) -> Order:
    """What `craft_all` is told of the variants of so many blocks."""
    course = Course(
        settings.epochs,
        settings.batch_size,
        settings.learning_rate,
        settings.patience,
        settings.min_gain,
        settings.seed,
        _device(settings.device),
    )
    return Order(
        recipes=recipes,
        blocks=blocks,
        images=_images_file(kept, training),
        folder=kept.folder,
        course=course,
        validation_images=settings.validation_images,
        calibration_images=settings.calibration_images,
        width_multiple=settings.width_multiple,
        task=task,
        outputs=outputs,
        latencies_ms=medians_ms,
        threads=settings.threads,
    )


def _timed(model: Model, timer: Timer, store: Sink, kept: Work) -> Timed:
    """Times of the variants of `model`: those that this build took before it was interrupted, for no two are equal."""
    before = kept.get_json("times.json")
    if before is not None and before["digests"] == sorted(model.digests()):
        return Timed(before["medians_ms"], tuple(before["faults"]), before["disturbed"])
    timed = timer(model, store.path)
    kept.put_json("times.json", {"digests": sorted(model.digests()), **asdict(timed)})
    return timed


def _assess(
    finished: Sequence[Finished],
    traced: Traced,
    held_out: Labelled,
    task: Task,
    settings: BuildSettings,
    kept: Work,
    progress: Progress,
) -> accuracy.Accuracy:
    about = Circumstances(
        task, held_out, traced.outputs, settings.batch_size, settings.threads * settings.processes, kept
    )
    trial, round_ = Trial(finished, about), 0

    def measure(routes: Sequence[Route]) -> Mapping[Route, Score]:
        nonlocal round_
        round_ += 1
        stage = f"evaluate {round_}/3"
        return trial.scores(routes, lambda done, total: progress(stage, done, total))

    return accuracy.assess(measure, trial.widths, settings.fit_routes, settings.check_routes, settings.seed)


def _inputs(traced: Traced, training: Labelled, task: Task, settings: BuildSettings) -> tuple[bytes, ...]:
    """What, besides the settings, decides what variants become: operators, weights, images, libraries, device."""
    labels = b"" if training.labels is None else b"".join(np.asarray(part).tobytes() for part in training.labels)
    versions = [f"{name} {metadata.version(name)}" for name in _DECIDING_PACKAGES]
    where = _device(settings.device)
    return (
        torchform.save(traced.module),
        training.images.tobytes(),
        labels,
        "\n".join([_WORK_FORMAT, task.key, where, *versions]).encode(),
    )


def _device(setting: str) -> str:
    available = torch.cuda.is_available()
    if setting == "cuda" and not available:
        raise CannotBuild("device is cuda and torch finds none: use auto or cpu")
    return "cuda" if available and setting != "cpu" else "cpu"
