"""What is made of a torch form before it runs: less work, the same numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="the second engine: pip install 'schedulerd[torch]'")

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from schedulerd.serving.engines.torch_graph import optimised
from tests.blockstore.build import networks


def traced(module: nn.Module) -> fx.GraphModule:
    """In evaluation mode, with statistics of batch normalisation that are neither 0 nor 1."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
            nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return fx.symbolic_trace(module.eval())


def features(channels: int = 4) -> Tensor:
    """Of two frames, about half of them negative."""
    return torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(1))


def check(module: nn.Module, given: Tensor) -> fx.GraphModule:
    """The optimised graph, which gives what `module` gives and leaves what it is given as it is."""
    graph = traced(module)
    before = given.clone()
    with torch.no_grad():
        expected = copy.deepcopy(graph)(given)
    made = optimised(graph)
    with torch.inference_mode():
        found = made(given)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(given, before), "the input is another block's output"
    assert not any(parameter.requires_grad for parameter in made.parameters())
    return made


def norms(graph: fx.GraphModule) -> int:
    """How many modules normalise."""
    return sum(isinstance(module, nn.BatchNorm2d) for module in graph.modules())


def in_place(graph: fx.GraphModule) -> int:
    """How many activations write over what they read."""
    called = [graph.get_submodule(str(node.target)) for node in graph.graph.nodes if node.op == "call_module"]
    functions = [node for node in graph.graph.nodes if node.op == "call_function" and node.kwargs.get("inplace")]
    return sum(bool(getattr(module, "inplace", False)) for module in called) + len(functions)


def test_normalisation_goes_into_the_convolutions_before_it() -> None:
    """Of a whole network."""
    assert norms(check(networks.residual(), features(3))) == 0


class Twice(nn.Module):
    """One convolution with two normalisations, as networks have it that share weights between scales."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, 4, h, w]` to the same."""
        return self.second(self.convolution(self.first(self.convolution(x))))


class ReadBeside(nn.Module):
    """A convolution whose output is read beside its normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, 4, h, w]` to the same."""
        y = self.convolution(x)
        return self.norm(y) * y


@pytest.mark.parametrize(("make", "left"), [(Twice, 2), (ReadBeside, 1)])
def test_normalisation_stays_where_a_convolution_has_other_readers(make: Callable[[], nn.Module], left: int) -> None:
    """Its weights stand for those, too."""
    assert norms(check(make(), features())) == left


@pytest.mark.parametrize("layers", [[nn.BatchNorm2d(4)], [nn.ReLU(), nn.BatchNorm2d(4)]])
def test_normalisation_without_a_convolution_stays(layers: list[nn.Module]) -> None:
    """Such as that of the input of a block."""
    assert norms(check(nn.Sequential(*layers), features())) == 1


def test_normalisation_by_the_batch_itself_stays() -> None:
    """There are no statistics to fold."""
    by_batch = nn.BatchNorm2d(4, track_running_stats=False)
    assert norms(check(nn.Sequential(nn.Conv2d(4, 4, 3), by_batch), features())) == 1


class Function(nn.Module):
    """A convolution, or a sum, and an activation that is a function."""

    def __init__(self, activation: Callable[[Tensor], Tensor], adds: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3, padding=1)
        self.activation, self.adds = activation, adds

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, 4, h, w]` to the same."""
        y = self.convolution(x)
        return self.activation(y + x if self.adds else y)


ACTIVATIONS = (nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.ELU(), nn.Hardtanh(), nn.Hardswish(), nn.SiLU(), nn.Mish())
FUNCTIONS = (functional.relu, functional.relu6, functional.hardswish, functional.silu)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
def test_an_activation_writes_over_what_a_layer_made_for_it(activation: nn.Module) -> None:
    """Here a convolution."""
    assert in_place(check(nn.Sequential(nn.Conv2d(4, 4, 3), activation), features())) == 1


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_so_does_a_function(activation: Callable[[Tensor], Tensor], adds: bool) -> None:
    """Of a layer's output or of a sum."""
    assert in_place(check(Function(activation, adds), features())) == 1


class Kept(nn.Module):
    """What an activation reads is added to what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.activation = nn.Conv2d(4, 4, 3, padding=1), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, 4, h, w]` to the same."""
        y = self.convolution(x)
        return y + self.activation(y)


class SharedActivation(nn.Module):
    """One module stands for two activations, and the second reads the input."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.activation = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, 4, h, w]` to the same."""
        return self.activation(self.convolution(x)) + self.activation(x)


def views() -> nn.Module:
    """An activation of a view of the input."""
    return nn.Sequential(nn.Flatten(), nn.ReLU())


@pytest.mark.parametrize("make", [nn.ReLU, views, Kept, SharedActivation])
def test_an_activation_leaves_what_others_read(make: Callable[[], nn.Module]) -> None:
    """The input of the block among it: a frame, or what another app's route goes on with."""
    assert in_place(check(make(), features())) == 0
