"""The torch engine: variants and heads are modules on one device, run without gradients, in channels-last order.

Channels last is the order that oneDNN computes in: a route of four convolution blocks (24 x 64 x 64, one thread) took
3.0 ms in it and 4.3 ms in torch's own order. Nothing has to convert: a frame arrives so, and convolutions hand it on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx

from blockstore import torchform
from schedulerd.errors import EngineError
from schedulerd.serving.engines.base import HEAD_INPUTS, HEAD_OUTPUTS, Array
from schedulerd.serving.engines.heap import keep_tensors_on_heap, return_freed_memory
from schedulerd.serving.engines.torch_graph import optimised


class _Graph:
    """One module in evaluation mode; it keeps no state, so calling it is safe from several threads at once."""

    def __init__(self, module: fx.GraphModule) -> None:
        # `view` takes apart only tensors whose memory has the order of their dimensions.
        self._in_order = any(node.op == "call_method" and node.target == "view" for node in module.graph.nodes)
        order = torch.contiguous_format if self._in_order else torch.channels_last
        self._module = module.to(memory_format=order)  # type: ignore[call-overload] # absent from torch's stubs

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Any:
        with torch.inference_mode():
            return self._module(*(t.contiguous() for t in tensors) if self._in_order else tensors)


class TorchBlock:
    """A graph of one tensor in and one out."""

    def __init__(self, module: fx.GraphModule, path: Path) -> None:
        self._graph = _Graph(module)
        self._path = path

    def run(self, tensor: torch.Tensor) -> torch.Tensor:
        """Output `[batch, ...]` on the input's device; returns when it is computed, not when it is queued."""
        try:
            result: torch.Tensor = self._graph((tensor,))
            if tensor.is_cuda:
                # A lane decides again at each block boundary, so the boundary must be a real one.
                torch.cuda.current_stream(tensor.device).synchronize()
        except Exception as error:  # whatever a module's operators raise
            raise EngineError(f"{self._path.name[:16]} cannot run {_shapes((tensor,))}: {error}") from error
        return result


class TorchHead:
    """A graph that gives a network's output and how sure it is of that."""

    def __init__(self, module: fx.GraphModule, path: Path) -> None:
        self._path = path
        self._inputs = sum(node.op == "placeholder" for node in module.graph.nodes)
        least, most = HEAD_INPUTS
        if not least <= self._inputs <= most:
            raise EngineError(f"{path} has {self._inputs} inputs; a head has {least} or {most}: export it again")
        (given,) = module.graph.output_node().args
        count = len(given) if isinstance(given, tuple | list) else 1
        if count != len(HEAD_OUTPUTS):
            raise EngineError(
                f"{path} gives {count} tensors; a head gives {len(HEAD_OUTPUTS)}, {' and '.join(HEAD_OUTPUTS)}: "
                f"export it again"
            )
        self._graph = _Graph(module)

    def run(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, float]:
        """See `LoadedHead`; reading the confidence waits until the device has computed it."""
        try:
            output, confidence = self._graph(tensors)
            # A head may hide a NaN: a maximum or a clip of one is a number in some kernels.
            sure = math.nan if bool(output.isnan().any()) else float(confidence.item())
        except Exception as error:  # as above
            raise EngineError(
                f"head {self._path.name[:16]} takes {self._inputs} tensors and cannot run {_shapes(tensors)}: {error}"
            ) from error
        return output, sure


class TorchEngine:
    """Runs the torch form of variants on one device: `cpu`, `cuda` or `cuda:1`."""

    name = "torch"

    def __init__(self, threads: int = 1, device: str = "cpu") -> None:
        if threads < 1:
            raise EngineError(f"an engine needs at least 1 thread, not {threads}")
        self.threads = threads
        self.device = _device(device)
        # Both are of the whole process: torch has one pool, which every lane shares, and malloc for its tensors.
        torch.set_num_threads(threads)
        keep_tensors_on_heap()

    def version(self) -> str:
        """Version of torch with its build (`2.13.0+cpu`), and the device where it is not the CPU."""
        if self.device.type == "cpu":
            return torch.__version__
        return f"{torch.__version__} {torch.cuda.get_device_name(self.device)}"

    def load(self, path: Path) -> TorchBlock:
        """Read the safetensors form of a variant; nothing is unpickled."""
        return TorchBlock(self._module(path), path)

    def load_apart(self, path: Path) -> TorchBlock:
        """As `load`: torch has no arena on the CPU."""
        return self.load(path)

    def load_head(self, path: Path) -> TorchHead:
        """Read the safetensors form of a head."""
        return TorchHead(self._module(path), path)

    def feed(self, array: Array) -> torch.Tensor:
        """The array's memory as a tensor; a copy where it is not contiguous or writeable, or not for the CPU."""
        return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(self.device)

    def fetch(self, tensor: torch.Tensor) -> Array:
        """The tensor in ordinary memory, in the order of its dimensions."""
        array: Array = tensor.cpu().contiguous().numpy()
        return array

    def join(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """One tensor on their device."""
        return torch.cat(tuple(tensors))

    def _module(self, path: Path) -> fx.GraphModule:
        try:
            module = optimised(torchform.load(path.read_bytes())).to(self.device)
        except Exception as error:  # a damaged file fails in many ways
            raise EngineError(f"torch {self.version()} cannot load {path}: {error}") from error
        return_freed_memory()
        return module


class TorchOnArrays:
    """An alternate to the onnxruntime engine: torch forms on the CPU that take and give arrays.

    Arrays and tensors share their memory. What a convolution gives is channels-last, and so is the array made of it:
    the next torch block takes it as it is, an onnxruntime session copies it into the order of its dimensions.
    """

    name = "torch"

    def __init__(self, threads: int = 1) -> None:
        # Torch's count is of the whole process, so there is one such engine and it has the lane's threads.
        self._engine = TorchEngine(threads)
        self.threads = threads

    def version(self) -> str:
        """As `TorchEngine.version`."""
        return self._engine.version()

    def load(self, path: Path) -> _ArrayBlock:
        """As `TorchEngine.load`."""
        return _ArrayBlock(self._engine.load(path))

    def load_apart(self, path: Path) -> _ArrayBlock:
        """As `load`."""
        return self.load(path)

    def load_head(self, path: Path) -> _ArrayHead:
        """As `TorchEngine.load_head`."""
        return _ArrayHead(self._engine.load_head(path))

    def feed(self, array: Array) -> Array:
        """The array itself where it is C-contiguous, else a copy that is."""
        return np.ascontiguousarray(array)

    def fetch(self, tensor: Array) -> Array:
        """The array in the order of its dimensions."""
        return np.ascontiguousarray(tensor)

    def join(self, tensors: Sequence[Array]) -> Array:
        """One array."""
        return np.concatenate(tensors)


@dataclass(frozen=True, slots=True)
class _ArrayBlock:
    block: TorchBlock

    def run(self, tensor: Array) -> Array:
        """As `TorchBlock.run`."""
        return _array_of(self.block.run(_tensor_of(tensor)))


@dataclass(frozen=True, slots=True)
class _ArrayHead:
    head: TorchHead

    def run(self, tensors: Sequence[Array]) -> tuple[Array, float]:
        """As `TorchHead.run`."""
        output, confidence = self.head.run([_tensor_of(tensor) for tensor in tensors])
        return _array_of(output), confidence


def _tensor_of(array: Array) -> torch.Tensor:
    """The array's memory; a copy of one that may not be written, such as a frame in its message."""
    return torch.from_numpy(array if array.flags.writeable else array.copy(order="K"))


def _array_of(tensor: torch.Tensor) -> Array:
    array: Array = tensor.numpy()
    return array


def _shapes(tensors: Sequence[torch.Tensor]) -> str:
    return ", ".join(f"{tensor.dtype}{tuple(tensor.shape)}" for tensor in tensors)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineError(f'torch has no device {name!r} here: {error}; set [engine] device to "cpu"') from error
    return device
