"""The offline stage from end to end; open this file first.

    trace -> cut into blocks -> prune variants -> retrain each against its original -> export -> evaluate -> store

Each step is one file of this package. The model's manifest is put in the store last: an interrupted build leaves no
model behind. Retraining is kept after every epoch, and the same build goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from blockstore.block import ORIGINAL, Model
from blockstore.build import evaluate, images, manifest
from blockstore.build.checkpoint import Checkpoint
from blockstore.build.cut import CutBlock, cut
from blockstore.build.export import export, run, session
from blockstore.build.images import ImageSet, Labelled
from blockstore.build.latency import median_ms
from blockstore.build.manifest import Candidate, Exported, Sink
from blockstore.build.progress import Progress
from blockstore.build.prune import Skipped, prunable, variants
from blockstore.build.retrain import Course, Losses, Retraining, Student
from blockstore.build.settings import BuildSettings
from blockstore.build.trace import trace
from blockstore.errors import CannotBuild
from blockstore.zoo.preprocess import Preprocess

SAMPLES = 8
"""Frames on which the forms of a variant are compared."""


@dataclass(frozen=True, slots=True)
class Built:
    """What came of a build."""

    model: Model
    skipped: tuple[Skipped, ...]
    """Variants that were not made, each with its reason."""
    accuracy: evaluate.Accuracy


def build(
    network: nn.Module, data: ImageSet, settings: BuildSettings, store: Sink, work: Path, progress: Progress
) -> Built:
    """Cut `network`, make and retrain its variants, and put the model in `store`.

    `network` takes float32 `[batch, c, h, w]` and gives logits `[batch, classes]`. `work` is a folder for what an
    interrupted build goes on from. Raises `CannotCut`, `UnsupportedOperator` or `CannotBuild`.
    """
    _check_network(network)
    training = images.training(data, settings.input)
    held_out = images.held_out(data, settings.input)
    with _torch_threads(settings.threads):
        blocks = cut_network(network, settings, progress)
        _check_outputs(blocks[-1], data.classes)
        checkpoint = Checkpoint(work, settings.key(_weights(blocks), training.images.tobytes()))
        candidates, skipped = make_variants(blocks, settings, progress)
        losses = retrain(blocks, candidates, training, settings, checkpoint, progress)
        exported = export_all(blocks, candidates, held_out, progress)
    accuracy = measure_accuracy(exported, held_out, settings, progress)
    model = manifest.model(exported, losses, accuracy, settings, data.classes, (len(training), len(held_out)), store)
    store.put_model(model)
    checkpoint.remove()
    return Built(model, skipped, accuracy)


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """`network` with the weights of a safetensors file; `CannotBuild` names what is missing or does not fit."""
    _check_network(network)
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CannotBuild(f"cannot read weights {path}: {error}") from error
    # Counters of batch normalisation: some files lack them, and nothing is computed from them.
    counters = {name: t for name, t in network.state_dict().items() if name.endswith("num_batches_tracked")}
    given = {**counters, **tensors}
    expected = network.state_dict()
    misfits = [
        *(f"no {name}" for name in expected.keys() - given.keys()),
        *(f"unknown {name}" for name in given.keys() - expected.keys()),
        *(
            f"{name} is {list(given[name].shape)}, not {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in given and given[name].shape != tensor.shape
        ),
    ]
    if misfits:
        raise CannotBuild(
            f"{path} has weights of another network: {', '.join(sorted(misfits)[:4])} ({len(misfits)} in all)"
        )
    network.load_state_dict(given)
    return network


def _check_network(network: object) -> None:
    if not isinstance(network, nn.Module):
        raise CannotBuild(f"the network is a {type(network).__name__}, not a torch.nn.Module")


def _check_outputs(last: CutBlock, classes: Sequence[str]) -> None:
    if last.output.shape != (len(classes),):
        raise CannotBuild(f"the network gives {last.output}, the data has {len(classes)} classes")


def cut_network(network: nn.Module, settings: BuildSettings, progress: Progress) -> tuple[CutBlock, ...]:
    """`network` behind its normalisation, as a chain of `settings.blocks` blocks."""
    progress("cut", 0, 1)
    traced = trace(network, Preprocess(settings.mean, settings.std, settings.scale), settings.input)
    blocks = cut(traced, settings.blocks, median_ms, prunable)
    progress("cut", 1, 1, "; ".join(f"{b.name} -> {b.output}" for b in blocks))
    return blocks


def make_variants(
    blocks: Sequence[CutBlock], settings: BuildSettings, progress: Progress
) -> tuple[tuple[Candidate, ...], tuple[Skipped, ...]]:
    """For each block its original and then its pruned variants, untrained."""
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    for done, block in enumerate(blocks, start=1):
        made, left_out = variants(block, settings.ratios, settings.importance, settings.width_multiple)
        candidates.append(Candidate(block, ORIGINAL, block.module, None))
        candidates.extend(Candidate(block, p.name, p.module, p) for p in made)
        skipped.extend(left_out)
        progress("prune", done, len(blocks))
    return tuple(candidates), tuple(skipped)


def retrain(
    blocks: Sequence[CutBlock],
    candidates: Sequence[Candidate],
    training: Labelled,
    settings: BuildSettings,
    checkpoint: Checkpoint,
    progress: Progress,
) -> Losses:
    """Train the modules of all pruned candidates; returns their errors of the last epoch."""
    students = [Student(c.block.index, c.name, c.module) for c in candidates if c.pruned]
    device = _device(settings.device)
    course = Course(settings.epochs, settings.batch_size, settings.learning_rate, settings.seed, device)
    _check_size(blocks, training, settings)
    retraining = Retraining(blocks, students, course)
    saved = checkpoint.load()
    if saved is not None:
        retraining.restore(*saved)
    while retraining.epoch < settings.epochs:
        first = retraining.epoch

        def advance(done: int, batches: int, first: int = first) -> None:
            progress("retrain", first * batches + done, settings.epochs * batches)

        retraining.run_epoch(training.images, advance)
        checkpoint.save(retraining.state(), retraining.epoch)
    retraining.finish()
    return retraining.losses


def export_all(
    blocks: Sequence[CutBlock], candidates: Sequence[Candidate], held_out: Labelled, progress: Progress
) -> tuple[Exported, ...]:
    """Both forms of every candidate, compared on what its block really gets."""
    inputs = [torch.from_numpy(held_out.images[:SAMPLES])]
    with torch.no_grad():
        for block in blocks:
            inputs.append(block.module(inputs[-1]))
    exported = []
    for done, candidate in enumerate(candidates, start=1):
        block = candidate.block
        exported.append(Exported(candidate, export(candidate.module, block.input, inputs[block.index])))
        progress("export", done, len(candidates))
    return tuple(exported)


def measure_accuracy(
    exported: Sequence[Exported], held_out: Labelled, settings: BuildSettings, progress: Progress
) -> evaluate.Accuracy:
    """Measured accuracy of routes through the ONNX forms, which are what is served."""
    runners = [[_runner(e.forms.onnx, settings.threads) for e in row] for row in manifest.by_block(exported)]

    def measure(routes: Iterable[evaluate.Route]) -> Mapping[evaluate.Route, float]:
        def advance(done: int, total: int) -> None:
            progress("evaluate", done, total)

        return evaluate.route_accuracies(runners, routes, held_out, settings.batch_size, advance)

    widths = [len(row) for row in runners]
    return evaluate.evaluate(measure, widths, settings.fit_routes, settings.check_routes, settings.seed)


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


def _runner(onnx: bytes, threads: int) -> evaluate.Runner:
    loaded = session(onnx, threads)
    return lambda inputs: run(loaded, inputs)


def _weights(blocks: Sequence[CutBlock]) -> bytes:
    return b"".join(p.numpy().tobytes() for b in blocks for p in b.module.parameters())


def _device(setting: str) -> str:
    available = torch.cuda.is_available()
    if setting == "cuda" and not available:
        raise CannotBuild("device is cuda and torch finds none: use auto or cpu")
    return "cuda" if available and setting != "cpu" else "cpu"


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
