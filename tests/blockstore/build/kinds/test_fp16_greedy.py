"""FP16 by greedy choice: DeepSense's Algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import fx, nn

from blockstore import torchform
from blockstore.build.kinds import fp16, fp16_greedy
from blockstore.build.kinds.base import Declined
from blockstore.build.kinds.fp16_greedy import choose
from blockstore.errors import CannotBuild
from tests.blockstore.build import networks
from tests.blockstore.build.kinds.encoded import Bench, bench

LOSSES = {"a": 0.02, "b": 0.0, "c": 0.3, "d": 0.01}


def additive(converted: Sequence[str]) -> float:
    return 0.9 - sum(LOSSES[layer] for layer in converted)


def test_layers_convert_from_the_one_that_loses_least_while_the_loss_lasts() -> None:
    chosen, lost = choose(tuple(LOSSES), additive, 0.9, 0.05)
    assert chosen == ("b", "d", "a")
    assert lost == pytest.approx(0.03)


def test_a_loss_equal_to_the_allowed_one_is_not_accepted() -> None:
    assert choose(("a", "d"), lambda c: 1.0 - 0.25 * len(c), 1.0, 0.25)[0] == ()


def test_losses_are_counted_with_the_layers_that_are_converted_already() -> None:
    def together(converted: Sequence[str]) -> float:
        """Each of two layers is harmless, both are not."""
        return 0.5 if len(converted) == 2 else 1.0

    assert choose(("a", "b"), together, 1.0, 0.1) == (("a",), 0.0)


def test_no_more_scores_than_pairs_of_layers() -> None:
    asked: list[tuple[str, ...]] = []

    def accuracy(converted: Sequence[str]) -> float:
        asked.append(tuple(converted))
        return 1.0

    assert choose(tuple("abcde"), accuracy, 1.0, 0.1)[0] == tuple("abcde")
    assert len(asked) == 15


def sensitive() -> Bench:
    """A block of seven layers of which the second and third lose a quarter of the accuracy when they are rounded."""
    tested = bench(networks.plain)
    names = {str(n.target) for n in tested.block.module.graph.nodes if n.op == "call_module"}
    delicate = [name for name in sorted(names) if name.endswith((".2", ".4"))]
    assert len(delicate) == 2

    def score(module: fx.GraphModule) -> float:
        original = tested.block.module
        rounded = [
            n
            for n in delicate
            if not torch.equal(module.get_parameter(f"{n}.weight"), original.get_parameter(f"{n}.weight"))
        ]
        return tested.material.score(module) - 0.25 * len(rounded)

    return replace(tested, material=replace(tested.material, score=score))


def test_only_the_layers_that_cost_little_are_in_half_precision() -> None:
    tested = sensitive()
    made = tested.encode(fp16_greedy.parse(["0.1"]))
    assert made.forms.torch is not None
    again = torchform.load(made.forms.torch)
    convolutions = [m for m in again.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    in_half = [torch.equal(m.weight, m.weight.half().float()) for m in convolutions]
    assert in_half == [True, False, False, True, True, True, True]
    assert made.facts["layers"] == 7
    assert made.facts["layers_converted"] == 5
    assert float(made.facts["accuracy_lost"]) < 0.1
    assert len(made.forms.onnx) < len(tested.forms.onnx)


def test_where_all_layers_may_convert_all_do() -> None:
    tested = bench(networks.plain)
    made = tested.encode(fp16_greedy.parse(["0.5"]))
    assert made.facts["layers_converted"] == 7
    assert made.forms == tested.encode(fp16.parse([])).forms


def test_where_every_layer_costs_too_much_it_is_declined() -> None:
    tested = sensitive()
    original = tested.block.module
    layers = [n for n, m in original.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]

    def score(module: fx.GraphModule) -> float:
        return (
            1.0
            if all(
                torch.equal(module.get_parameter(f"{n}.weight"), original.get_parameter(f"{n}.weight")) for n in layers
            )
            else 0.5
        )

    costly = replace(tested, material=replace(tested.material, score=score))
    with pytest.raises(Declined, match="no one of its 7 layers"):
        costly.encode(fp16_greedy.parse(["0.1"]))


@pytest.mark.parametrize("arguments", [[], ["0.1", "0.2"], ["much"], ["0"], ["1.5"], ["nan"]])
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CannotBuild):
        fp16_greedy.parse(arguments)
