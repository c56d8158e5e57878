"""What converters work with: values and constants, one ONNX node with its inputs, and the fx graph that grows.

The graph is built by running it: every value carries what it is for one frame of zeros, so that each converter knows
the shapes. A file has batch 1 written into it; `batch_axis` follows where the frames of a batch lie, so that the graph
takes any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from blockstore.errors import CannotBuild

Constant = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The tensor that data movement began with, and for every element of its result where it lay in that tensor."""

    value: Value
    positions: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor of the network."""

    node: fx.Node
    sample: Tensor
    """Its value for one frame of zeros."""
    batch_axis: int = 0
    """The axis whose slowest factor is the batch: `[24 * batch, 2, 1936]` has 0."""
    source: Source | None = None
    """Set where nothing but movement lies between."""

    @property
    def shape(self) -> tuple[int, ...]:
        """For one frame."""
        return tuple(self.sample.shape)


@dataclass(frozen=True, slots=True)
class Call:
    """One ONNX node with its inputs looked up; an input that is left out is None."""

    operator: str
    node_name: str
    name: str
    """What a module made of this node is called: unique, readable, may have dots."""
    opset: int
    inputs: tuple[Value | Constant | None, ...]
    attributes: Mapping[str, Any]
    outputs: int

    def value(self, index: int = 0) -> Value:
        """Input `index`, which must depend on the frames."""
        given = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(given, Value):
            raise self.refusal(f"its input {index} does not depend on the frames")
        return given

    def batched(self, index: int = 0) -> Value:
        """Input `index`, whose first dimension must be the frames."""
        value = self.value(index)
        if value.batch_axis != 0:
            raise self.refusal(f"its input {index} does not have the frames in its first dimension")
        return value

    def weights(self, index: int) -> Constant:
        """Input `index`, which must be constant."""
        given = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(given, np.ndarray):
            raise self.refusal(f"its input {index} must be constant")
        return given

    def setting(self, attribute: str, index: int, default: Any = None) -> Any:
        """A setting that older opsets have as an attribute and newer ones as constant input `index`; lists of ints."""
        if index < len(self.inputs) and self.inputs[index] is not None:
            return self.weights(index).tolist()
        return self.attributes.get(attribute, default)

    def axis(self, number: int, rank: int) -> int:
        """`number` counted from the front."""
        if not -rank <= number < rank:
            raise self.refusal(f"axis {number} of a tensor of {rank} dimensions")
        return number % rank

    def refusal(self, reason: str) -> CannotBuild:
        """What to raise where this node cannot be expressed."""
        return CannotBuild(f"operator {self.operator} (node {self.node_name!r}) cannot be imported: {reason}")


class Builder:
    """An fx graph under construction, with its modules and constants."""

    def __init__(self, frame: Tensor) -> None:
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.input = Value(self.graph.placeholder("frames"), frame)

    def module(self, call: Call, module: nn.Module, value: Value) -> Value:
        """`module` on `value`, under the name of `call`."""
        module.eval().requires_grad_(False)
        with torch.no_grad():
            sample = module(value.sample)
        node = self.graph.call_module(self._add(call.name, module), (value.node,))
        return Value(node, sample, value.batch_axis)

    def function(self, target: Callable[..., Any], *args: Any, batch_axis: int = 0, **kwargs: Any) -> Value:
        """`target` on values and plain arguments; `batch_axis` is that of the result."""
        with torch.no_grad():
            sample = target(*_replace(args, "sample"), **_replace(kwargs, "sample"))
        node = self.graph.call_function(target, _replace(args, "node"), _replace(kwargs, "node"))
        return Value(node, sample, batch_axis)

    def constant(self, call: Call, content: Constant) -> Value:
        """A tensor that does not depend on the frames, as a buffer of the graph."""
        tensor = torch.from_numpy(np.array(content))
        name = f"{call.name}.constant".replace(".", "_")
        self.root.register_buffer(name, tensor)
        return Value(self.graph.get_attr(name), tensor)

    def finish(self, outputs: tuple[Value, ...]) -> fx.GraphModule:
        """The graph with these outputs, without what none of them needs."""
        self.graph.output(outputs[0].node if len(outputs) == 1 else tuple(o.node for o in outputs))
        module = fx.GraphModule(self.root, self.graph, class_name="OnnxNetwork")
        module.graph.eliminate_dead_code()
        module.recompile()
        module.delete_all_unused_submodules()
        return module.eval()

    def _add(self, name: str, module: nn.Module) -> str:
        """Put `module` at the dotted path `name`, or at one word where that is taken; returns where."""
        path = name
        while not self._is_free(path):
            path = f"{path.replace('.', '_')}_"
        *parents, last = path.split(".")
        parent = self.root
        for part in parents:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, module)
        return path

    def _is_free(self, path: str) -> bool:
        """Whether `path` leads to nothing, and not through a layer."""
        parts = path.split(".")
        if any(not part or hasattr(nn.Module, part) for part in parts):
            return False
        module = self.root
        for part in parts:
            if type(module) is not nn.Module:
                return False
            if not hasattr(module, part):
                return True
            module = module.get_submodule(part)
        return False


def _replace(given: Any, attribute: str) -> Any:
    """`given` with the values in it replaced by their node or their sample."""
    if isinstance(given, Value):
        return getattr(given, attribute)
    if isinstance(given, tuple | list):
        return type(given)(_replace(item, attribute) for item in given)
    if isinstance(given, dict):
        return {key: _replace(item, attribute) for key, item in given.items()}
    return given
