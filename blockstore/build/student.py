"""A variant under training: its optimiser, its best weights so far, and its state as bytes to go on from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor, fx

from blockstore.build.layout import channels_last

# The squares of gradients are averaged over fewer steps than by default (0.999), for trainings are short. Together with
# a rate that rises at the start this gave routes of ResNet-20 nearly what twice the images gave without either.
BETAS: Final = (0.9, 0.99)
_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")


class Student:
    """`module` learns on `device`, and comes back from there by `graduate`.

    Where it has an `up_to`, the same layers up to its neck, it learns there; else at its output.
    """

    def __init__(self, name: str, module: fx.GraphModule, device: str, up_to: fx.GraphModule | None = None) -> None:
        self.name = name
        self.module = module
        self.at_neck = up_to is not None
        self.learns = module if up_to is None else up_to
        self.epoch = 0
        """Finished ones."""
        self.errors: list[float] = []
        """Validation error before training and after each epoch: mean squared, over the variance of the target."""
        self.fault: str | None = None
        """Why it was given up; None while it was not."""
        channels_last(module).to(device).eval().requires_grad_(True)
        self._parameters = dict(module.named_parameters())
        self._best: dict[str, Tensor] = {}
        # A block of which only shortcuts are left has nothing to learn.
        self._optimiser = torch.optim.Adam(self._parameters.values(), betas=BETAS) if self._parameters else None

    def learn(self, loss_of: Callable[[Tensor], Tensor], x: Tensor, rate: float) -> None:
        """One step down `loss_of(output)` on the input `x`; a loss that is not a number ends the training."""
        if self._optimiser is None:
            return
        loss = loss_of(self.learns(x))
        value = float(loss.detach())
        if not math.isfinite(value):
            self.fault = f"its loss became {value} in epoch {self.epoch + 1}; lower the learning rate"
            return
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.step()

    def note(self, error: float) -> None:
        """Take a validation error, and keep the weights if it is the lowest so far."""
        if self.fault is not None:
            return
        if not math.isfinite(error):
            self.fault = f"its error became {error} after epoch {self.epoch}; lower the learning rate"
            return
        if not self.errors or error < min(self.errors):
            self._best = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.errors.append(error)

    def graduate(self) -> fx.GraphModule:
        """The module with its best weights, frozen, on the CPU."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self._best[name])
        self.module.to("cpu").requires_grad_(False)
        return self.module

    def record(self) -> dict[str, Any]:
        """How far it is, as JSON."""
        return {"name": self.name, "epoch": self.epoch, "errors": self.errors, "fault": self.fault}

    def tensors(self, is_done: bool) -> dict[str, Tensor]:
        """Its best weights and, where it `is_done` not, its weights and the moments of its optimiser."""
        found = {f"best/{name}": value for name, value in self._best.items()}
        if is_done or self._optimiser is None:
            return found
        for name, parameter in self._parameters.items():
            found[f"weight/{name}"] = parameter.detach()
            for key, value in self._optimiser.state.get(parameter, {}).items():
                found[f"{key}/{name}"] = value
        return found

    def take_up(self, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from `record` and `tensors`; of one that was done the module keeps its weights until `graduate`."""
        self.epoch, self.errors, self.fault = record["epoch"], list(record["errors"]), record["fault"]
        if self.errors:
            self._best = {name: _like(tensors[f"best/{name}"], p) for name, p in self._parameters.items()}
        if self._optimiser is None or not all(f"weight/{name}" in tensors for name in self._parameters):
            return
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[f"weight/{name}"])
        moments = {
            position: {key: _like(tensors[f"{key}/{name}"], parameter) for key in _MOMENTS}
            for position, (name, parameter) in enumerate(self._parameters.items())
            if f"step/{name}" in tensors
        }
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": moments})


def dump(students: Sequence[Student], is_done: Callable[[Student], bool]) -> bytes:
    """State of `students`: a safetensors file with their records as metadata."""
    stored = {
        f"{position}/{name}": value.cpu().contiguous()
        for position, student in enumerate(students)
        for name, value in student.tensors(is_done(student)).items()
    }
    return safetensors.torch.save(stored, metadata={"students": json.dumps([s.record() for s in students])})


def restore(students: Sequence[Student], data: bytes) -> None:
    """Let those of `students` that are in `data`, which `dump` wrote, go on from there."""
    size = int.from_bytes(data[:8], "little")
    records = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["students"])
    tensors = safetensors.torch.load(data)
    kept = {record["name"]: (f"{position}/", record) for position, record in enumerate(records)}
    for student in students:
        if student.name in kept:
            prefix, record = kept[student.name]
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            student.take_up(record, own)


def _like(stored: Tensor, like: Tensor) -> Tensor:
    """`stored` on the device of `like` and in its memory layout, so that the same instructions compute with it."""
    if stored.ndim == 0:  # the number of steps
        return stored
    return torch.empty_like(like, requires_grad=False).copy_(stored)
