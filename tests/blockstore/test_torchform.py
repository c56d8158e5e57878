"""The torch form: what it keeps, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from blockstore import torchform
from blockstore.errors import BadTorchForm, UnsupportedOperator
from tests.blockstore.build import networks


class Several(nn.Module):
    """Operators of every kind that a form can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding="same", bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.linear = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.norm(self.conv(x)))
        x = torch.cat([functional.pad(x[:, :2, ::2, 1:], (0, 1, 0, 0)), x[..., ::2, :][:, :2]], 1)
        x = functional.max_pool2d(functional.hardswish(x), 2) + 1.5
        pooled = torch.cat([x.mean((2, 3)), functional.adaptive_avg_pool2d(x, (1, 1)).flatten(1)], dim=1)
        return self.linear(pooled.view(pooled.size(0), -1).clamp(-1, max=3.0))


def several() -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.symbolic_trace(Several().eval())


def tampered(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A form whose graph was changed by hand."""
    data = torchform.save(several())
    size = int.from_bytes(data[:8], "little")
    document = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["schedulerd"])
    change(document)
    return safetensors.torch.save(safetensors.torch.load(data), metadata={"schedulerd": json.dumps(document)})


def test_a_form_computes_what_the_block_computed() -> None:
    block = several()
    inputs = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    loaded = torchform.load(torchform.save(block))
    assert torch.equal(loaded(inputs), block(inputs))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("network", [networks.residual, networks.plain, networks.depthwise])
def test_whole_networks_survive(network: Callable[[], nn.Module]) -> None:
    traced = networks.traced(network()).module
    frames = networks.frames(2)
    assert torch.equal(torchform.load(torchform.save(traced))(frames), traced(frames))


def test_equal_blocks_give_equal_bytes_wherever_they_stood() -> None:
    one, other = several(), several()
    renamed = fx.Graph()
    result = renamed.graph_copy(other.graph, {}, False)
    renamed.output(result)
    elsewhere = nn.Module()
    elsewhere.add_module("deep", other)
    for node in renamed.nodes:
        node.name = f"another_{node.name}"
        if node.op == "call_module":
            node.target = f"deep.{node.target}"
    assert torchform.save(fx.GraphModule(elsewhere, renamed)) == torchform.save(one)


def test_saving_what_was_loaded_gives_the_same_bytes() -> None:
    data = torchform.save(several())
    assert torchform.save(torchform.load(data)) == data


class Scales(nn.Module):
    """Has a constant of its own, used twice, and one that it shares with no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.scale = nn.Parameter(torch.tensor([[[0.5]], [[1.5]], [[2.5]], [[3.5]]]))
        self.register_buffer("shift", torch.tensor([2]))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.conv(x) + self.scale - self.shift


def test_constants_are_kept_once_each_with_their_type() -> None:
    block = fx.symbolic_trace(Scales())
    inputs = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    data = torchform.save(block)
    loaded = torchform.load(data)
    assert torch.equal(loaded(inputs), block(inputs))
    assert {name: b.dtype for name, b in loaded.named_buffers()} == {"c0": torch.float32, "c1": torch.int64}
    assert torchform.save(loaded) == data


def test_weights_stored_in_half_precision_are_read_as_single() -> None:
    module = Scales().half()
    loaded = torchform.load(torchform.save(fx.symbolic_trace(module)))
    assert {t.dtype for t in (*loaded.parameters(), loaded.c0)} == {torch.float32}
    assert torch.equal(loaded.c0, module.scale.float())
    assert torch.equal(loaded.m0.weight, module.conv.weight.float())


def test_a_function_outside_of_the_whitelist_is_refused_by_name() -> None:
    class Sorts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sort(x)[0]

    with pytest.raises(UnsupportedOperator, match="sort"):
        torchform.save(fx.symbolic_trace(Sorts()))


def test_a_method_and_a_module_outside_of_the_whitelist_are_refused_by_name() -> None:
    class Flips(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flip(1)

    with pytest.raises(UnsupportedOperator, match="flip"):
        torchform.save(fx.symbolic_trace(Flips()))
    with pytest.raises(UnsupportedOperator, match="InstanceNorm2d"):
        torchform.save(fx.symbolic_trace(nn.Sequential(nn.InstanceNorm2d(3))))


def test_a_subclass_of_a_known_module_is_refused() -> None:
    class Loud(nn.Conv2d):
        pass

    class Uses(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
            return True

    root = nn.Sequential(Loud(3, 3, 1))
    graph = fx.Tracer.trace(Uses(), root)
    with pytest.raises(UnsupportedOperator, match="Loud"):
        torchform.save(fx.GraphModule(root, graph))


@pytest.mark.parametrize(
    ("op", "target"),
    [
        ("call_function", "os.system"),
        ("call_method", "__reduce__"),
        ("call_module", "m99"),
        ("get_attr", "m0"),
        ("get_attr", "c9"),
    ],
)
def test_a_tampered_operator_is_refused_when_read(op: str, target: str) -> None:
    def change(document: dict[str, Any]) -> None:
        document["nodes"][3] |= {"op": op, "target": target}

    with pytest.raises(UnsupportedOperator, match=target):
        torchform.load(tampered(change))


def test_an_unknown_class_is_refused_when_read() -> None:
    def change(document: dict[str, Any]) -> None:
        document["modules"]["m0"]["class"] = "Module"

    with pytest.raises(UnsupportedOperator, match="'Module'"):
        torchform.load(tampered(change))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d.update(format="other/1"), id="another format"),
        pytest.param(lambda d: d["nodes"].reverse(), id="a value used before it is made"),
        pytest.param(lambda d: d["modules"]["m0"]["arguments"].update(extra=1), id="an unknown argument"),
        pytest.param(lambda d: d["modules"]["m0"]["arguments"].update(out_channels=5), id="other widths"),
        pytest.param(lambda d: d["modules"].update({"m0(); import os": d["modules"]["m0"]}), id="code as a name"),
        pytest.param(lambda d: d["nodes"][6]["kwargs"].update({"a=1, b": 1}), id="code as a keyword"),
        pytest.param(lambda d: d["nodes"][2]["args"].append({"object": 1}), id="an unknown kind of argument"),
        pytest.param(lambda d: d.update(nodes=d["nodes"] * 2000), id="too many nodes"),
        pytest.param(lambda d: d["modules"].pop("m0"), id="a module that is not there"),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises((BadTorchForm, UnsupportedOperator)):
        torchform.load(tampered(change))


@pytest.mark.parametrize("data", [b"", b"no form", torchform.save(several())[:-40]], ids=["empty", "text", "cut off"])
def test_a_damaged_file_is_refused(data: bytes) -> None:
    with pytest.raises(BadTorchForm):
        torchform.load(data)


def test_weights_without_a_graph_are_refused() -> None:
    with pytest.raises(BadTorchForm, match="no graph"):
        torchform.load(safetensors.torch.save({"w": torch.zeros(2)}))


class Joins(nn.Module):
    """Two inputs of different shapes, two outputs: what the head of an exit is."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, earlier: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        output = self.linear(torch.cat([earlier.mean((2, 3)), own], 1))
        return output, torch.softmax(output, 1).amax(1)


def test_several_inputs_and_outputs_keep_their_order() -> None:
    torch.manual_seed(0)
    head = fx.symbolic_trace(Joins())
    data = torchform.save(head)
    loaded = torchform.load(data)
    assert [n.target for n in loaded.graph.nodes if n.op == "placeholder"] == ["input", "input1"]
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(4, 2, 3, 3, generator=generator), torch.randn(4, 3, generator=generator)
    expected, got = head(*inputs), loaded(*inputs)
    assert isinstance(got, tuple)
    assert all(torch.equal(one, other) for one, other in zip(expected, got, strict=True))
    assert torchform.save(loaded) == data


def test_an_output_that_no_node_makes_is_refused() -> None:
    data = torchform.save(fx.symbolic_trace(Joins()))
    size = int.from_bytes(data[:8], "little")
    document = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["schedulerd"])
    document["nodes"][-1]["args"] = [{"tuple": [{"node": "n99"}, {"node": "n0"}]}]
    changed = safetensors.torch.save(safetensors.torch.load(data), metadata={"schedulerd": json.dumps(document)})
    with pytest.raises(BadTorchForm):
        torchform.load(changed)
