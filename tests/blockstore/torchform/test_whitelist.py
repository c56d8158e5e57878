"""The whitelist: every operator that a form may hold is written, read and computes what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from blockstore import torchform
from blockstore.torchform.whitelist import ALIASES, FUNCTIONS, METHODS, MODULES
from blockstore.zoo.preprocess import Preprocess

LAYERS: Final = (
    nn.Conv2d(4, 6, 3, padding=(1, 0), padding_mode="circular"),
    nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1, bias=False),
    nn.Linear(6, 5),
    nn.BatchNorm2d(4),
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.3),
    nn.PReLU(4, init=0.4),
    nn.ELU(0.5),
    nn.Softplus(2.0, 10.0),
    nn.Mish(),
    nn.Hardtanh(-0.5, 0.25),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.SiLU(),
    nn.GELU("tanh"),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Softmax(1),
    nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    nn.AvgPool2d((2, 3), count_include_pad=False),
    nn.AdaptiveAvgPool2d((2, 1)),
    nn.AdaptiveMaxPool2d(2),
    nn.ZeroPad2d((1, 0, 2, 0)),
    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    nn.PixelShuffle(2),
    nn.Flatten(2),
    nn.Dropout(0.2),
    nn.Identity(),
    Preprocess((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), (1.0,) * 6),
)
CALLS: Final[dict[str, Callable[[Tensor], Any]]] = {
    "add": lambda x: x + 1.5,
    "sub": lambda x: 1 - x,
    "mul": lambda x: x * x,
    "truediv": lambda x: x / 2,
    "floordiv": lambda x: x.reshape(x.size(0), x.size(1) // 2, -1),
    "pow": lambda x: x**2,
    "neg": lambda x: -x,
    "matmul": lambda x: x @ x,
    "getitem": lambda x: x[:, [2, 0], ..., 1:],
    "torch.add": lambda x: torch.add(x, x, alpha=2),
    "torch.sub": lambda x: torch.sub(x, 1),
    "torch.mul": lambda x: torch.mul(x, x),
    "torch.div": lambda x: torch.div(x, 3),
    "torch.pow": lambda x: torch.pow(x, 3),
    "torch.matmul": lambda x: torch.matmul(x, x),
    "torch.abs": lambda x: torch.abs(x),
    "torch.exp": lambda x: torch.exp(x),
    "torch.erf": lambda x: torch.erf(x),
    "torch.sqrt": lambda x: torch.sqrt(torch.abs(x)),
    "torch.log": lambda x: torch.log(torch.abs(x) + 1),
    "torch.log_softmax": lambda x: torch.log_softmax(x, 1),
    "torch.cat": lambda x: torch.cat([x, x], dim=1),
    "torch.stack": lambda x: torch.stack([x, x], 2),
    "torch.chunk": lambda x: torch.chunk(x, 2, 1)[1],
    "torch.split": lambda x: torch.split(x, [1, 3], 1)[0],
    "torch.flatten": lambda x: torch.flatten(x, 1),
    "torch.reshape": lambda x: torch.reshape(x, (-1, 2, 72)),
    "torch.permute": lambda x: torch.permute(x, (0, 2, 3, 1)),
    "torch.transpose": lambda x: torch.transpose(x, 1, 2),
    "torch.squeeze": lambda x: torch.squeeze(x[:, :1], 1),
    "torch.unsqueeze": lambda x: torch.unsqueeze(x, 1),
    "torch.mean": lambda x: torch.mean(x, (2, 3)),
    "torch.sum": lambda x: torch.sum(x, 1, True),
    "torch.amax": lambda x: torch.amax(x, (2, 3)),
    "torch.relu": lambda x: torch.relu(x),
    "torch.sigmoid": lambda x: torch.sigmoid(x),
    "torch.softmax": lambda x: torch.softmax(x, 1),
    "torch.tanh": lambda x: torch.tanh(x),
    "torch.clamp": lambda x: torch.clamp(x, min=0.1),
    "relu": lambda x: functional.relu(x),
    "relu6": lambda x: functional.relu6(x),
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.1),
    "elu": lambda x: functional.elu(x),
    "gelu": lambda x: functional.gelu(x),
    "hardtanh": lambda x: functional.hardtanh(x, -0.1, 0.2),
    "hardsigmoid": lambda x: functional.hardsigmoid(x),
    "hardswish": lambda x: functional.hardswish(x),
    "mish": lambda x: functional.mish(x),
    "silu": lambda x: functional.silu(x),
    "softplus": lambda x: functional.softplus(x),
    "pad": lambda x: functional.pad(x, (1, 0, 0, 2), value=3.0),
    "max_pool2d": lambda x: functional.max_pool2d(x, 2),
    "avg_pool2d": lambda x: functional.avg_pool2d(x, 3, 1, 1),
    "adaptive_avg_pool2d": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "adaptive_max_pool2d": lambda x: functional.adaptive_max_pool2d(x, (1, 2)),
    "interpolate": lambda x: functional.interpolate(x, scale_factor=2.0),
    "pixel_shuffle": lambda x: functional.pixel_shuffle(x, 2),
    "softmax": lambda x: functional.softmax(x, dim=1),
    "dropout": lambda x: functional.dropout(x, 0.5, training=False),
}
METHOD_CALLS: Final[dict[str, Callable[[Tensor], Any]]] = {
    "add": lambda x: x.add(1),
    "amax": lambda x: x.amax((2, 3), keepdim=True),
    "chunk": lambda x: x.chunk(2, dim=1)[0],
    "clamp": lambda x: x.clamp(-0.1, max=0.1),
    "contiguous": lambda x: x.contiguous(),
    "div": lambda x: x.div(4),
    "exp": lambda x: x.exp(),
    "flatten": lambda x: x.flatten(2),
    "log": lambda x: x.exp().log(),
    "log_softmax": lambda x: x.log_softmax(1),
    "matmul": lambda x: x.matmul(x),
    "mean": lambda x: x.mean((2, 3)),
    "mul": lambda x: x.mul(x),
    "permute": lambda x: x.permute(0, 3, 1, 2),
    "pow": lambda x: x.pow(2),
    "relu": lambda x: x.relu(),
    "reshape": lambda x: x.reshape(-1, 8, 18),
    "sigmoid": lambda x: x.sigmoid(),
    "size": lambda x: x.reshape(x.size(0), -1),
    "softmax": lambda x: x.softmax(-1),
    "split": lambda x: x.split(2, 1)[1],
    "sqrt": lambda x: x.pow(2).sqrt(),
    "squeeze": lambda x: x.amax(1, keepdim=True).squeeze(1),
    "sub": lambda x: x.sub(1),
    "sum": lambda x: x.sum(3),
    "tanh": lambda x: x.tanh(),
    "transpose": lambda x: x.transpose(1, 3),
    "unsqueeze": lambda x: x.unsqueeze(2),
    "view": lambda x: x.view(-1, 144),
}


class Layers(fx.Tracer):
    """Does not look into `Preprocess` either."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return type(module) in MODULES


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def values() -> Tensor:
    return torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))


def used(module: nn.Module) -> set[Any]:
    """What the graph of a round trip calls, after checking that it computes the same."""
    root = nn.Sequential(module).eval() if type(module) in MODULES else module
    traced = fx.GraphModule(root, Layers().trace(root))
    loaded = torchform.load(torchform.save(traced))
    assert torch.equal(loaded(values()), traced(values()))
    return {node.target for node in traced.graph.nodes}


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_layer_survives(layer: nn.Module) -> None:
    used(layer)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_survives(name: str) -> None:
    assert FUNCTIONS[name] in used(Function(CALLS[name]))


@pytest.mark.parametrize(("function", "name"), ALIASES.items())
def test_arithmetic_in_place_is_written_as_the_plain_one(function: Callable[..., Any], name: str) -> None:
    graphs = []
    for operation in (function, FUNCTIONS[name]):
        graph = fx.Graph()
        graph.output(graph.call_function(operation, (graph.placeholder("x"), 2)))
        graphs.append(torchform.save(fx.GraphModule(nn.Module(), graph)))
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("name", METHOD_CALLS)
def test_a_method_survives(name: str) -> None:
    assert name in used(Function(METHOD_CALLS[name]))


def test_nothing_is_whitelisted_that_is_not_tried_above() -> None:
    assert {type(layer) for layer in LAYERS} == MODULES.keys()
    assert CALLS.keys() == FUNCTIONS.keys()
    assert METHOD_CALLS.keys() == METHODS
