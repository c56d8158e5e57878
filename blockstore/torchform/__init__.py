"""The torch form of a block: a safetensors file with the weights and, as JSON in its metadata, the fx graph.

Nothing is pickled. A graph is made of modules, functions and tensor methods that `whitelist` has, and of constant
tensors; anything else is refused by name, when a form is written and again when it is read. Nodes, modules and
constants are renumbered in the order of the graph, so that equal blocks give equal bytes wherever in a network they
stood. Weights may be stored in float16; they are read as float32.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, fx, nn

from blockstore.errors import BadTorchForm, UnsupportedOperator
from blockstore.torchform.whitelist import ALIASES, FUNCTIONS, METHODS, MODULES

TORCHFORM_FORMAT: Final = "schedulerd-torchform/1"
_METADATA_KEY: Final = "schedulerd"
# A graph of this many nodes is larger than any block of ours; a bigger one is damage or an attack.
MAX_NODES: Final = 10_000

_CONSTANT: Final = re.compile(r"c\d+")
_CLASSES: Final = {cls.__name__: cls for cls in MODULES}
_FUNCTION_NAMES: Final = {**{f: name for name, f in FUNCTIONS.items()}, **ALIASES}


def save(block: fx.GraphModule) -> bytes:
    """The torch form of `block` (evaluation mode); equal blocks give equal bytes.

    Raises `UnsupportedOperator` with the operator that is not in the whitelist.
    """
    modules = dict(block.named_modules())
    writer = _Writer(modules)
    nodes = [writer.node(node) for node in block.graph.nodes]
    document = {"format": TORCHFORM_FORMAT, "modules": writer.constructors, "nodes": nodes}
    weights = {
        f"{name}.{key}": value
        for target, name in writer.module_names.items()
        for key, value in modules[target].state_dict().items()
    }
    constants = {name: operator.attrgetter(target)(block) for target, name in writer.constant_names.items()}
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in (weights | constants).items()}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return safetensors.torch.save(tensors, metadata={_METADATA_KEY: text})


def load(data: bytes) -> fx.GraphModule:
    """The block of a torch form, in evaluation mode, on the CPU.

    Raises `UnsupportedOperator` where the graph names something outside of the whitelists, `BadTorchForm` where
    the file is not a torch form or its weights do not fit its graph.
    """
    document = _document(data)
    try:
        tensors = {name: _single(tensor) for name, tensor in safetensors.torch.load(data).items()}
        block = _Reader(document, tensors).graph_module()
        # Modules were made without memory; `assign` gives them the file's tensors and checks names and shapes.
        block.load_state_dict(tensors, strict=True, assign=True)
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        raise BadTorchForm(f"not a torch form: {type(error).__name__}: {error}") from error
    return block.eval().requires_grad_(False)


def check_supported(module: fx.GraphModule) -> None:
    """Raise `UnsupportedOperator` unless every operator of `module` can be written as a torch form."""
    writer = _Writer(dict(module.named_modules()))
    for node in module.graph.nodes:
        writer.node(node)


def _single(tensor: Tensor) -> Tensor:
    """Half precision is a way to store weights; blocks compute in float32."""
    return tensor.float() if tensor.dtype is torch.float16 else tensor


def _document(data: bytes) -> dict[str, Any]:
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        document = json.loads(header["__metadata__"][_METADATA_KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise BadTorchForm(f"no graph in the metadata of the file: {type(error).__name__}: {error}") from error
    if not isinstance(document, dict) or document.get("format") != TORCHFORM_FORMAT:
        raise BadTorchForm(f"this version reads {TORCHFORM_FORMAT!r}; write the block again with `schedulerd build`")
    if len(document.get("nodes", ())) > MAX_NODES:
        raise BadTorchForm(f"{len(document['nodes'])} nodes, at most {MAX_NODES} are read")
    return document


class _Writer:
    """Nodes as JSON, with nodes, modules and constants renumbered in the order in which they are first used."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules = modules
        self.module_names: dict[str, str] = {}
        self.constant_names: dict[str, str] = {}
        self.constructors: dict[str, dict[str, Any]] = {}
        self._node_names: dict[fx.Node, str] = {}

    def node(self, node: fx.Node) -> dict[str, Any]:
        """`node` with its operator looked up in the whitelists."""
        record = {
            "op": node.op,
            "target": self._target(node),
            "args": [self._value(a, node) for a in node.args],
            "kwargs": {k: self._value(v, node) for k, v in node.kwargs.items()},
        }
        self._node_names[node] = f"n{len(self._node_names)}"
        return record

    def _target(self, node: fx.Node) -> str:
        target = node.target
        if node.op in ("placeholder", "output"):
            return node.op
        if node.op == "call_module" and isinstance(target, str):
            return self._module(target)
        if node.op == "get_attr" and isinstance(target, str):
            return self.constant_names.setdefault(target, f"c{len(self.constant_names)}")
        if node.op == "call_function" and callable(target):
            if target in _FUNCTION_NAMES:
                return _FUNCTION_NAMES[target]
            raise UnsupportedOperator(f"function {_qualified(target)} (at {node.name}) is not in the whitelist")
        if node.op == "call_method" and target in METHODS:
            return str(target)
        raise UnsupportedOperator(f"{node.op} {target} (at {node.name}) is not whitelisted")

    def _module(self, target: str) -> str:
        if target not in self.module_names:
            self.module_names[target] = name = f"m{len(self.module_names)}"
            self.constructors[name] = _constructor(self.modules[target], target)
        return self.module_names[target]

    def _value(self, value: Any, node: fx.Node) -> Any:
        if isinstance(value, fx.Node):
            return {"node": self._node_names[value]}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, slice):
            return {"slice": [self._value(v, node) for v in (value.start, value.stop, value.step)]}
        if isinstance(value, tuple):
            return {"tuple": [self._value(v, node) for v in value]}
        if isinstance(value, list):
            return [self._value(v, node) for v in value]
        if value is Ellipsis:
            return {"ellipsis": True}
        raise UnsupportedOperator(f"argument {value!r} of {node.name} has a type that the torch form cannot hold")


def _constructor(module: nn.Module, target: str) -> dict[str, Any]:
    """Class and constructor arguments of `module`; `bias` is held as whether there is one."""
    if type(module) not in MODULES:
        raise UnsupportedOperator(f"module {_qualified(type(module))} (at {target}) is not in the whitelist")
    arguments: dict[str, Any] = {}
    for name in MODULES[type(module)]:
        value = getattr(module, name)
        arguments[name] = value is not None if name == "bias" else value
    return {"class": type(module).__name__, "arguments": arguments}


def _qualified(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', thing)}"


class _Reader:
    """A JSON document back as a graph. fx turns names into code: they are made here, not taken from the file."""

    def __init__(self, document: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self._document = document
        self._tensors = tensors
        self._graph = fx.Graph()
        self._nodes: dict[str, fx.Node] = {}

    def graph_module(self) -> fx.GraphModule:
        root = nn.Module()
        for position, (name, record) in enumerate(sorted(self._document["modules"].items(), key=_number)):
            if name != f"m{position}":
                raise BadTorchForm(f"module {name!r} at position {position}; expected 'm{position}'")
            root.add_module(name, _construct(record))
        for name, tensor in self._tensors.items():
            if _CONSTANT.fullmatch(name):
                root.register_buffer(name, tensor)
        for record in self._document["nodes"]:
            self._add(record)
        self._graph.lint()
        return fx.GraphModule(root, self._graph, class_name="Block")

    def _add(self, record: dict[str, Any]) -> None:
        op, target = record["op"], record["target"]
        args = tuple(self._value(a) for a in record["args"])
        kwargs = {str(k): self._value(v) for k, v in record["kwargs"].items()}
        if not all(k.isidentifier() for k in kwargs):
            raise BadTorchForm(f"keyword of {target!r} is not a name: {list(kwargs)}")
        name = f"n{len(self._nodes)}"
        self._nodes[name] = self._create(op, target, args, kwargs, name)

    def _create(self, op: str, target: str, args: Any, kwargs: Any, name: str) -> fx.Node:
        if op == "placeholder":
            # Arguments of one function need names of their own.
            argument = f"input{len(self._graph.find_nodes(op=op)) or ''}"
            return self._graph.create_node(op, argument, (), {}, argument)
        if op == "output":
            return self._graph.create_node(op, "output", args, {}, "output")
        if op == "call_module" and target in self._document["modules"]:
            return self._graph.create_node(op, target, args, kwargs, name)
        if op == "get_attr" and _CONSTANT.fullmatch(target) and target in self._tensors:
            return self._graph.create_node(op, target, args, kwargs, name)
        if op == "call_function" and target in FUNCTIONS:
            return self._graph.create_node(op, FUNCTIONS[target], args, kwargs, name)
        if op == "call_method" and target in METHODS:
            return self._graph.create_node(op, target, args, kwargs, name)
        raise UnsupportedOperator(f"{op} {target!r} is not in the whitelist of torch forms")

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(v) for v in value]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "node":
            return self._nodes[content]
        if kind == "slice":
            return slice(*(self._value(v) for v in content))
        if kind == "tuple":
            return tuple(self._value(v) for v in content)
        if kind == "ellipsis":
            return Ellipsis
        raise BadTorchForm(f"argument of kind {kind!r}; known are node, slice, tuple, ellipsis")


def _number(item: tuple[str, Any]) -> int:
    return int(item[0].removeprefix("m"))


def _construct(record: dict[str, Any]) -> nn.Module:
    cls = _CLASSES.get(record["class"])
    if cls is None:
        raise UnsupportedOperator(f"module {record['class']!r} is not in the whitelist of torch forms")
    if set(record["arguments"]) != set(MODULES[cls]):
        raise BadTorchForm(f"{cls.__name__} takes {MODULES[cls]}, the file has {sorted(record['arguments'])}")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in record["arguments"].items()}
    # No memory and no random numbers: the weights come from the file.
    with torch.device("meta"):
        return cls(**arguments)
