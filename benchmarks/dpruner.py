"""D-Pruner on the whole of ALL-CNN-C, with labels, on CIFAR-10 (Huynh, PhD thesis 2019, chapter 4).

Algorithm 2: train masking blocks, then everything with them; remove the filters that are masked in nearly all training
images; fine-tune what is left; again, until validation accuracy has fallen by more than a point, and then the network
before counts. Targets are those of table 4.1. The thesis trains far longer than a CPU can here: how much was trained
instead is among the figures. So short a training leaves something to gain, and the rounds go on training: the drop is
measured from the original as it was, and from the original after as much further training (`tuned`). The stop rule
looks at training images that nothing is trained on, the figures at the test images. Batch normalisation is trained in
all rounds and folded only where networks are compared: without it, fine-tuning lost more than pruning did. The trained
original is kept in out/builder, so that a second run only prunes.
"""

from __future__ import annotations

import copy
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, fx, nn
from torch.nn import functional

from benchmarks.harness import Figure, Options, Target, main
from benchmarks.routes import accuracy, side_by_side_ms
from blockstore.block import TensorSpec
from blockstore.build import weights
from blockstore.build.export import export
from blockstore.build.images import Labelled
from blockstore.build.kinds.masking import Choice, Schedule, adam, fit, nesterov, prune_once
from blockstore.build.layout import channels_last
from blockstore.build.progress import shown
from blockstore.build.trace import trace
from blockstore.zoo.allcnn import all_cnn_c
from blockstore.zoo.augment import augmented
from blockstore.zoo.datasets import cifar10
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.train import Lessons, classification_loss, train
from schedulerd.serving.engines.onnx import OnnxBlock, OnnxEngine

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT.parent / "shared" / "data" / "cifar10"
OUT = ROOT / "out" / "builder"
FRAMES, INPUT = TensorSpec("uint8", (32, 32, 3)), TensorSpec("float32", (3, 32, 32))
PREPROCESS = Preprocess((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ALLOWED_DROP = 0.01
CHOICE = Choice(share=0.2, threshold=0.95)
"""The thesis' K and T (section 4.4.1)."""
SCHEDULE = Schedule(mask_epochs=1, joint_epochs=1, mask_rate=1e-2, joint_rate=1e-3, optimiser=adam)
"""Adam, for masks have few steps to learn in: after 4000 images the network with its masks had 77% and 222 of 1248
filters were masked nearly always; by the thesis' SGD at 0.01 39% and 151, at 0.1 70% and 115."""
BATCH = 64
THESIS_EPOCHS, THESIS_ROUND_EPOCHS, THESIS_IMAGES = 350, 70, 50_000
"""For the original; in each round, half with masks and half without; of so many images (section 4.4.1)."""


@dataclass(frozen=True)
class Effort:
    """How much is trained."""

    images: int
    epochs: int
    """For the original."""
    masking: int
    """Images that the masks, then everything with masks, are trained on in a round, and that masked filters are counted
    on; drawn anew from `images` each time."""
    lesson: int
    """Images that fine-tuning looks at with each of its learning rates."""
    tuning: tuple[float, ...]
    """Learning rates of the fine-tuning in a round."""
    rounds: int
    """At most."""
    validation: int
    """Training images from the end, for the stop rule alone."""

    @property
    def round_epochs(self) -> float:
        """Passes over `images` in each round."""
        return (2 * self.masking + len(self.tuning) * self.lesson) / self.images


TUNING = tuple(0.01 * (1 + math.cos(math.pi * step / 20)) for step in range(1, 20))
"""From 0.02 down on a cosine."""
FULL = Effort(images=45_000, epochs=8, masking=4_000, lesson=8_000, tuning=TUNING, rounds=9, validation=5000)
QUICK = Effort(images=200, epochs=1, masking=128, lesson=128, tuning=(1e-2,), rounds=1, validation=500)


@dataclass(frozen=True)
class Round:
    """A network that a round has left."""

    network: fx.GraphModule
    accuracy: float
    """On the validation images."""
    seconds: float
    """Since the first round began."""


def measure(options: Options) -> Mapping[str, Figure]:
    """Every figure, or the reason why there is none."""
    if not IMAGES.is_dir():
        return {f: Figure(None, "-", reason="needs ../shared beside the checkout") for f in FIGURES if options.wants(f)}
    torch.set_num_threads(psutil.cpu_count() or 1)
    effort = QUICK if options.quick else FULL
    images = cifar10(str(IMAGES)).train()
    lessons = images.part(0, effort.images)
    network, training_s = _original(lessons, effort)
    original = channels_last(fx.symbolic_trace(network.requires_grad_(False)))
    assert isinstance(original, fx.GraphModule)
    rounds = list(_rounds(original, lessons, images.part(len(images) - effort.validation, len(images)), effort))
    kept = [r for r in rounds if r.accuracy >= rounds[0].accuracy - ALLOWED_DROP]
    further = (TUNING[0], *effort.tuning) * (len(kept) - 1)
    networks = {
        "before": original,
        "after": kept[-1].network,
        "tuned": _tuned(copy.deepcopy(original), _Lessons(lessons, effort.lesson, seed=0), further),
    }
    test = cifar10(str(IMAGES), test_limit=500 if options.quick else 0).held_out()
    found = {
        **_compared(networks, test),
        "dpruner_rounds": Figure(len(kept) - 1, "rounds", None, _course(rounds)),
        "dpruner_training_s": Figure(training_s, "s"),
        "dpruner_pruning_s": Figure(rounds[-1].seconds, "s"),
        "dpruner_training_images": Figure(effort.images, "images", Target(">=", THESIS_IMAGES)),
        "dpruner_training_epochs": Figure(effort.epochs, "epochs", Target(">=", THESIS_EPOCHS)),
        "dpruner_round_epochs": Figure(effort.round_epochs, "epochs", Target(">=", THESIS_ROUND_EPOCHS)),
    }
    return {name: figure for name, figure in found.items() if options.wants(name)}


def _course(rounds: Sequence[Round]) -> dict[str, list[float]]:
    """What became of the network, the original first."""
    return {
        "parameters": [sum(p.numel() for p in r.network.parameters()) for r in rounds],
        "validation_accuracy": [r.accuracy for r in rounds],
        "seconds": [r.seconds for r in rounds],
    }


def _original(images: Labelled, effort: Effort) -> tuple[nn.Module, float]:
    """ALL-CNN-C trained on `images`, read from a file where it was trained alike before; seconds it took."""
    path = OUT / f"allcnn{'' if effort is FULL else '-quick'}.safetensors"
    course = {"images": str(effort.images), "epochs": str(effort.epochs)}
    if path.is_file():
        with safe_open(path, "pt") as file:
            known = file.metadata() or {}
        if course.items() <= known.items():
            return weights.load_weights(all_cnn_c(), path).eval(), float(known["seconds"])
    began_s = time.monotonic()
    network = all_cnn_c().to(DEVICE)
    with shown() as progress, _bfloat16():
        train(
            _Elsewhere(network),
            PREPROCESS,
            lambda _: images,
            Lessons(effort.epochs, BATCH, augment=True),
            lambda done, total: progress("train ALL-CNN-C", done, total),
            lambda logits, batch: classification_loss(logits.float(), batch),
        )
    seconds = time.monotonic() - began_s
    network.to("cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, course | {"seconds": f"{seconds:.1f}"})
    return network, seconds


def _bfloat16() -> torch.autocast:
    """Where networks compute in bfloat16: a CPU with the instructions for it trains ALL-CNN-C 2.3 times quicker."""
    # With the cache, weights would be rounded once and for all: training would not see its own steps.
    return torch.autocast(DEVICE, torch.bfloat16, cache_enabled=False)


class _Elsewhere(nn.Module):
    """A network on `DEVICE` for a caller on the CPU."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.to(DEVICE)).cpu()
        return logits


def _rounds(network: fx.GraphModule, images: Labelled, validation: Labelled, effort: Effort) -> Iterator[Round]:
    """The original, then what each round leaves; the first whose accuracy has fallen too far is the last one."""
    began_s, original = time.monotonic(), _accuracy(network, validation)
    yield Round(network, original, 0.0)
    for seed in range(effort.rounds):
        masking, lessons = (_Lessons(images, count, seed) for count in (effort.masking, effort.lesson))
        with _bfloat16():
            pruned = prune_once(network, INPUT, masking, functional.cross_entropy, CHOICE, SCHEDULE, seed, DEVICE)
        if pruned.filters_after == pruned.filters_before:
            print(f"round {seed + 1}: no filter was masked in over {CHOICE.threshold:.0%}", file=sys.stderr)
            return
        network = _tuned(pruned.module, lessons, effort.tuning)
        found = Round(network, _accuracy(network, validation), time.monotonic() - began_s)
        filters = f"{pruned.filters_before} -> {pruned.filters_after} filters"
        fallen = f"validation accuracy {original:.4f} -> {found.accuracy:.4f}"
        print(f"round {seed + 1}: {filters}, {fallen}, {found.seconds:.0f} s", file=sys.stderr, flush=True)
        yield found
        if found.accuracy < original - ALLOWED_DROP:
            return


class _Lessons:
    """At each call other `count` of `images`, shifted and mirrored, normalised, and their labels, on `DEVICE`."""

    def __init__(self, images: Labelled, count: int, seed: int) -> None:
        self._images, self._labels = images.images, images.class_labels()
        self._count, self._draw = count, np.random.default_rng(seed)

    def __call__(self) -> Iterator[tuple[Tensor, Tensor]]:
        chosen = self._draw.permutation(len(self._labels))[: self._count]
        for start in range(0, len(chosen), BATCH):
            batch = chosen[start : start + BATCH]
            frames = PREPROCESS(torch.from_numpy(augmented(self._images[batch], self._draw)))
            yield frames.to(DEVICE), torch.from_numpy(self._labels[batch]).to(DEVICE)


def _tuned(module: fx.GraphModule, lessons: _Lessons, rates: tuple[float, ...]) -> fx.GraphModule:
    """`module`, trained further in place; frozen again, on the CPU."""
    channels_last(module.requires_grad_(True)).to(DEVICE)
    with _bfloat16():
        for rate in rates:
            fit(module, nesterov(list(module.parameters()), rate), lessons, functional.cross_entropy, 1)
    return module.requires_grad_(False).to("cpu")


def _accuracy(network: fx.GraphModule, images: Labelled) -> float:
    labels = torch.from_numpy(images.class_labels())
    starts = range(0, len(images), BATCH)
    with torch.no_grad():
        batches = (PREPROCESS(torch.from_numpy(images.images[i : i + BATCH])) for i in starts)
        predicted = [network(batch).argmax(1) for batch in batches]
    return float((torch.cat(predicted) == labels).float().mean())


def _compared(networks: Mapping[str, fx.GraphModule], test: Labelled) -> dict[str, Figure]:
    """The networks as users would run them: exported in float32, in onnxruntime on one thread."""
    sample = torch.from_numpy(test.images[:8])
    folded = {name: trace(network, PREPROCESS, FRAMES).module for name, network in networks.items()}
    forms = {name: export(network, FRAMES, sample) for name, network in folded.items()}
    with tempfile.TemporaryDirectory() as folder:
        chains = {name: [_loaded(form.onnx, Path(folder) / name)] for name, form in forms.items()}
    percent = {name: 100 * accuracy(chain, test.images, test.class_labels()) for name, chain in chains.items()}
    times = side_by_side_ms(chains, test.images[:1])
    medians_ms = {name: statistics.median(t) for name, t in times.items()}
    before, after = forms["before"], forms["after"]
    return {
        "dpruner_params_x": Figure(before.parameters / after.parameters, "x", Target(">=", 4.4)),
        "dpruner_ops_x": Figure(before.multiply_adds / after.multiply_adds, "x", Target(">=", 4.57)),
        "dpruner_acc_drop": Figure(percent["before"] - percent["after"], "points", Target("<=", 0.85)),
        "dpruner_acc_drop_from_tuned": Figure(percent["tuned"] - percent["after"], "points", Target("<=", 0.85)),
        **{f"dpruner_accuracy_{name}": Figure(value, "%") for name, value in percent.items()},
        "dpruner_speedup_x": Figure(medians_ms["before"] / medians_ms["after"], "x", Target(">=", 1.85), times),
    }


def _loaded(onnx: bytes, path: Path) -> OnnxBlock:
    path.write_bytes(onnx)
    return OnnxEngine(threads=1).load(path)


FIGURES = (
    "dpruner_params_x",
    "dpruner_ops_x",
    "dpruner_acc_drop",
    "dpruner_acc_drop_from_tuned",
    "dpruner_accuracy_before",
    "dpruner_accuracy_after",
    "dpruner_accuracy_tuned",
    "dpruner_speedup_x",
    "dpruner_rounds",
    "dpruner_training_s",
    "dpruner_pruning_s",
    "dpruner_training_images",
    "dpruner_training_epochs",
    "dpruner_round_epochs",
)

if __name__ == "__main__":
    sys.exit(main("dpruner", FIGURES, measure))
