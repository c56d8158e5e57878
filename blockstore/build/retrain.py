"""Retrain: every variant learns to give its original block's output for its original block's input.

LegoDNN, section 4.1: block-wise, without labels. One pass of the original network per batch gives every block's input
and output, and feeds all variants of all blocks: the originals run once, not once for each variant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from blockstore.build.cut import CutBlock
from blockstore.build.layout import channels_last


@dataclass(frozen=True, slots=True, eq=False)
class Student:
    """A variant under training: `name` is unique in its block."""

    block: int
    name: str
    module: nn.Module


@dataclass(frozen=True, slots=True)
class Course:
    """How students are trained."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    device: str


Losses = dict[tuple[int, str], float]
"""(block, variant) -> mean squared error of the last epoch, as a share of the variance of the original's output."""


class Retraining:
    """All students of a network and their optimiser; `state` and `restore` let a build go on where it stopped."""

    def __init__(self, blocks: Sequence[CutBlock], students: Sequence[Student], course: Course) -> None:
        self.epoch = 0
        self.losses: Losses = {}
        self._course = course
        self._teacher = [channels_last(b.module).to(course.device).eval().requires_grad_(False) for b in blocks]
        self._students = students
        for student in students:
            channels_last(student.module).to(course.device).eval().requires_grad_(True)
        self._parameters = {
            f"{s.block}/{s.name}/{name}": p for s in students for name, p in s.module.named_parameters()
        }
        self._optimiser = torch.optim.Adam(self._parameters.values(), lr=course.learning_rate) if students else None

    def run_epoch(self, images: npt.NDArray[np.uint8], progress: Callable[[int, int], None]) -> None:
        """One pass over `images`, uint8 `[n, h, w, c]`, in an order given by seed and epoch."""
        course = self._course
        order = np.random.default_rng((course.seed, self.epoch)).permutation(len(images))
        batches = [order[i : i + course.batch_size] for i in range(0, len(order), course.batch_size)]
        errors = dict.fromkeys(((s.block, s.name) for s in self._students), 0.0)
        for done, batch in enumerate(batches):
            self._set_rate((self.epoch + done / len(batches)) / course.epochs)
            frames = torch.from_numpy(images[batch]).to(course.device)
            for key, error in self._step(frames).items():
                errors[key] += error / len(batches)
            progress(done + 1, len(batches))
        self.epoch += 1
        self.losses = errors

    def finish(self) -> None:
        """Bring everything back to the CPU, frozen."""
        for module in [*self._teacher, *(s.module for s in self._students)]:
            module.to("cpu").requires_grad_(False)

    def state(self) -> dict[str, Tensor]:
        """Weights of the students, moments of the optimiser and last errors, by name."""
        tensors = {f"weight/{name}": p.detach() for name, p in self._parameters.items()}
        for (block, name), error in self.losses.items():
            tensors[f"error/{block}/{name}"] = torch.tensor(error, dtype=torch.float64)
        if self._optimiser is not None:
            for name, p in self._parameters.items():
                for key, value in self._optimiser.state.get(p, {}).items():
                    tensors[f"{key}/{name}"] = value
        return {name: t.cpu().contiguous().clone() for name, t in tensors.items()}

    def restore(self, tensors: dict[str, Tensor], epoch: int) -> None:
        """Take up the `state` that was saved after `epoch` epochs."""
        self.epoch = epoch
        self.losses = {(s.block, s.name): float(tensors[f"error/{s.block}/{s.name}"]) for s in self._students}
        for name, parameter in self._parameters.items():
            with torch.no_grad():
                parameter.copy_(tensors[f"weight/{name}"])
        if self._optimiser is not None and epoch > 0:
            self._optimiser.load_state_dict(self._optimiser_state(tensors))

    def _optimiser_state(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        assert self._optimiser is not None
        empty = self._optimiser.state_dict()
        moments = {
            i: {key: tensors[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for i, name in enumerate(self._parameters)
        }
        return {"state": moments, "param_groups": empty["param_groups"]}

    def _set_rate(self, progress: float) -> None:
        """Half a cosine from the full learning rate to a hundredth of it."""
        if self._optimiser is not None:
            share = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
            self._optimiser.param_groups[0]["lr"] = self._course.learning_rate * share

    def _step(self, frames: Tensor) -> Losses:
        """One batch: the originals forward, then each student forward and backward, then one step for all."""
        if self._optimiser is None:
            return {}
        self._optimiser.zero_grad(set_to_none=True)
        errors: Losses = {}
        x = frames
        for index, block in enumerate(self._teacher):
            with torch.no_grad():
                target = block(x)
            # Students own no common weights and Adam does not see the scale of a loss: one optimiser serves them all.
            variance = float(target.var()) or 1.0
            for student in self._students:
                if student.block == index:
                    loss = functional.mse_loss(student.module(x), target) / variance
                    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                    errors[student.block, student.name] = float(loss.detach())
            x = target
        self._optimiser.step()
        return errors
