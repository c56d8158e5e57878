"""Student: one step after another, the best weights kept, and all of it as bytes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from blockstore.build.student import Student, dump, restore

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(2))


def module(layers: int = 2) -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.symbolic_trace(nn.Sequential(*(nn.Linear(3, 3) for _ in range(layers)))).requires_grad_(False)


def learn(student: Student, steps: int = 5) -> None:
    """Towards zero."""
    for _ in range(steps):
        student.learn(lambda output: output.square().mean(), X, 0.05)


def error(student: Student) -> float:
    with torch.no_grad():
        return float(student.learns(X).square().mean())


def test_steps_go_down_the_loss() -> None:
    student = Student("a", module(), "cpu")
    before = error(student)
    learn(student)
    assert error(student) < before


def test_it_graduates_frozen_with_the_weights_of_its_lowest_error() -> None:
    student = Student("a", module(), "cpu")
    student.note(error(student))
    learn(student)
    student.note(error(student))
    best = copy.deepcopy(student.module.state_dict())
    learn(student)
    student.note(10.0)
    graduated = student.graduate()
    assert all(torch.equal(best[name], tensor) for name, tensor in graduated.state_dict().items())
    assert not any(p.requires_grad for p in graduated.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_or_an_error_that_is_no_number_is_its_fault_and_stays_so(value: float) -> None:
    lost, measured = Student("a", module(), "cpu"), Student("b", module(), "cpu")
    lost.learn(lambda output: output.sum() * value, X, 0.1)
    measured.note(value)
    measured.note(0.5)
    assert "its loss became" in (lost.fault or "")
    assert "its error became" in (measured.fault or "")
    assert measured.errors == []


def test_where_it_learns_at_a_neck_what_follows_stays() -> None:
    whole = module(layers=2)
    graph = fx.Graph()
    graph.output(graph.call_module("0", (graph.placeholder("x"),)))
    student = Student("a", whole, "cpu", fx.GraphModule(whole, graph))
    before = copy.deepcopy(whole.state_dict())
    learn(student)
    assert student.at_neck
    assert not torch.equal(before["0.weight"], whole.get_parameter("0.weight"))
    assert torch.equal(before["1.weight"], whole.get_parameter("1.weight"))


def test_without_weights_there_is_nothing_to_learn_nor_to_fail() -> None:
    student = Student("a", fx.symbolic_trace(nn.Sequential(nn.ReLU())), "cpu")
    learn(student)
    student.note(0.5)
    assert student.fault is None
    assert torch.equal(student.graduate()(X), functional.relu(X))


def test_one_that_goes_on_from_bytes_ends_where_an_unbroken_one_does() -> None:
    whole, broken = Student("a", module(), "cpu"), Student("a", module(), "cpu")
    for student in (whole, broken):
        student.note(error(student))
        learn(student)
        student.epoch = 1
        student.note(error(student))
    resumed = Student("a", module(), "cpu")
    restore([resumed], dump([broken], lambda _: False))
    assert (resumed.epoch, resumed.errors) == (1, whole.errors)
    for student in (whole, resumed):
        learn(student)
        student.note(error(student))
    assert resumed.errors == whole.errors
    assert all(map(torch.equal, tensors(whole), tensors(resumed)))


def test_only_those_that_were_kept_go_on() -> None:
    kept, other = Student("a", module(), "cpu"), Student("b", module(), "cpu")
    kept.epoch = 3
    data = dump([kept], lambda _: False)
    again = Student("a", module(), "cpu")
    restore([other, again], data)
    assert (again.epoch, other.epoch) == (3, 0)


def tensors(student: Student) -> list[Tensor]:
    return list(student.graduate().state_dict().values())
