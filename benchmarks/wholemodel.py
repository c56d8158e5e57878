"""Baseline of the builder's benchmark: filter pruning of the whole network, one retrained network for each latency.

Every convolution loses filters, those that the shortcuts tie together as one set for each stage, by L1 norm (Li et al.,
"Pruning filters for efficient ConvNets", ICLR 2017). The pruned network learns by the labels, as in that paper, from
images shifted and mirrored; by the original's logits, without labels, it was 2 to 4 points worse at every latency. All
sizes together have the same images and the same processor time as the variants of the store, and their optimiser and
course of learning rates. Batch normalisation learns too and is folded when all is done: without it, half of the filters
and 30 s left ResNet-20 at 50%, with it at 71%.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from blockstore import torchform
from blockstore.block import TensorSpec
from blockstore.build.export import to_onnx
from blockstore.build.images import Labelled
from blockstore.build.layout import channels_last
from blockstore.build.retrain import rate_at
from blockstore.build.student import BETAS
from blockstore.build.trace import trace
from blockstore.zoo.augment import augmented
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.resnet import CifarResNet, Unit


@dataclass(frozen=True)
class Lesson:
    """How a pruned network learns: the builder's own course, ended by processor time instead of epochs.

    Of learning rates 1e-3, 3e-3 and 1e-2, 3e-3 was the best.
    """

    cpu_s: float
    batch_size: int
    learning_rate: float
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """One pruned network to be taught; goes to a process of its own."""

    network: CifarResNet
    widths: tuple[int, ...]
    preprocess: Preprocess
    images: Path
    """A .npz file: `images`, uint8 `[n, h, w, c]`, and `labels`, `[n]`."""
    lesson: Lesson


def retrained(task: Task) -> tuple[bytes, float]:
    """The ONNX form of the network pruned to `widths` and taught, and how many epochs that was."""
    torch.set_num_threads(1)
    with np.load(task.images) as data:
        images = Labelled(data["images"], data["labels"])
    student, epochs = taught(pruned(task.network, task.widths), task.preprocess, images, task.lesson)
    return onnx_of(student, task.preprocess), epochs


CIFAR_FRAMES = TensorSpec("uint8", (32, 32, 3))


def onnx_of(network: nn.Module, preprocess: Preprocess, frames: TensorSpec = CIFAR_FRAMES) -> bytes:
    """The whole network as one block, exported as the builder exports blocks."""
    return to_onnx(torchform.load(torchform.save(trace(network, preprocess, frames).module)), (frames,))


def pruned(network: CifarResNet, widths: Sequence[int]) -> CifarResNet:
    """A copy with stages of `widths` channels, inside and out, holding the filters of largest norm.

    `widths` grow by even steps: option A shortcuts pad half of the new channels on either side.
    """
    network = copy.deepcopy(network)
    kept = _kept_channels(network, widths)
    first = kept[0]
    network.conv1, network.bn1 = _sliced(network.conv1, slice(None), first), _normalising(network.bn1, first)
    entering = first
    for stage, leaving in zip((network.layer1, network.layer2, network.layer3), kept, strict=True):
        for unit in stage:
            assert isinstance(unit, Unit)
            inner = _largest(_norms(unit.conv1), len(leaving))
            unit.conv1, unit.bn1 = _sliced(unit.conv1, entering, inner), _normalising(unit.bn1, inner)
            unit.conv2, unit.bn2 = _sliced(unit.conv2, inner, leaving), _normalising(unit.bn2, leaving)
            unit.missing = len(leaving) - len(entering)
            entering = leaving
    linear = nn.Linear(len(entering), network.linear.out_features)
    linear.weight.data, linear.bias.data = network.linear.weight[:, entering].clone(), network.linear.bias.clone()
    network.linear = linear
    return network


def taught(student: CifarResNet, preprocess: Preprocess, images: Labelled, lesson: Lesson) -> tuple[CifarResNet, float]:
    """`student` after `lesson` on `images`, and how many epochs that was."""
    student = channels_last(copy.deepcopy(student)).requires_grad_(True).train()
    optimiser = torch.optim.Adam(student.parameters(), betas=BETAS)
    draw, labels = np.random.default_rng(lesson.seed), images.class_labels()
    began_s, steps = time.process_time(), 0
    while (used := (time.process_time() - began_s) / lesson.cpu_s) < 1:
        chosen = draw.integers(0, len(labels), lesson.batch_size)
        optimiser.param_groups[0]["lr"] = lesson.learning_rate * rate_at(used)
        frames = preprocess(torch.from_numpy(augmented(images.images[chosen], draw)))
        loss = functional.cross_entropy(student(frames), torch.from_numpy(labels[chosen]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        steps += 1
    return student.eval().requires_grad_(False), steps * lesson.batch_size / len(labels)


def _kept_channels(network: CifarResNet, widths: Sequence[int]) -> list[Tensor]:
    """Channels of each stage that stay, in order; those of a stage that come from the one before stay in the middle."""
    stages = (network.layer1, network.layer2, network.layer3)
    kept: list[Tensor] = []
    for stage, width in zip(stages, widths, strict=True):
        norms = sum((_norms(unit.conv2) for unit in stage), torch.zeros(stage[-1].conv2.out_channels))
        if not kept:
            kept.append(_largest(norms + _norms(network.conv1), width))
            continue
        before, side = kept[-1], (width - len(kept[-1])) // 2
        offset = stage[0].missing // 2
        middle = before + offset
        end = len(norms) - offset
        below, above = _largest(norms[:offset], side), _largest(norms[end:], width - len(before) - side) + end
        kept.append(torch.cat([below, middle, above]))
    return kept


def _norms(layer: nn.Conv2d) -> Tensor:
    return layer.weight.detach().abs().sum((1, 2, 3))


def _largest(norms: Tensor, count: int) -> Tensor:
    return torch.topk(norms, count).indices.sort().values


def _sliced(layer: nn.Conv2d, entering: Tensor | slice, leaving: Tensor) -> nn.Conv2d:
    weight = layer.weight.detach()[leaving][:, entering].clone()
    new = nn.Conv2d(weight.shape[1], weight.shape[0], layer.kernel_size, layer.stride, layer.padding, bias=False)
    new.weight.data = weight
    return new


def _normalising(layer: nn.BatchNorm2d, leaving: Tensor) -> nn.BatchNorm2d:
    new = nn.BatchNorm2d(len(leaving)).eval()
    state = layer.state_dict()
    new.load_state_dict({name: value[leaving] if value.ndim else value for name, value in state.items()})
    return new
