"""The torch engine: each variant is a module on one device, run without gradients, in channels-last order.

Channels last is the order that oneDNN computes in: a route of four convolution blocks (24 x 64 x 64, one thread) took
3.0 ms in it and 4.3 ms in torch's own order. Nothing has to convert: a frame arrives so, and convolutions hand it on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import fx

from blockstore import torchform
from schedulerd.errors import EngineError
from schedulerd.serving.engines.base import Array
from schedulerd.serving.engines.heap import keep_tensors_on_heap, return_freed_memory


class TorchBlock:
    """One module in evaluation mode; it keeps no state, so `run` is safe from several threads at once."""

    def __init__(self, module: fx.GraphModule, path: Path) -> None:
        # `view` takes apart only tensors whose memory has the order of their dimensions.
        self._in_order = any(node.op == "call_method" and node.target == "view" for node in module.graph.nodes)
        order = torch.contiguous_format if self._in_order else torch.channels_last
        self._module = module.to(memory_format=order)  # type: ignore[call-overload] # absent from torch's stubs
        self._path = path

    def run(self, tensor: torch.Tensor) -> torch.Tensor:
        """Output `[batch, ...]` on the input's device; returns when it is computed, not when it is queued."""
        try:
            with torch.inference_mode():
                result: torch.Tensor = self._module(tensor.contiguous() if self._in_order else tensor)
            if tensor.is_cuda:
                # A lane decides again at each block boundary, so the boundary must be a real one.
                torch.cuda.current_stream(tensor.device).synchronize()
        except Exception as error:  # whatever a module's operators raise
            taken = f"{tensor.dtype}{tuple(tensor.shape)}"
            raise EngineError(f"{self._path.name[:16]} cannot run {taken}: {error}") from error
        return result


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
        try:
            block = TorchBlock(torchform.load(path.read_bytes()).to(self.device), path)
        except Exception as error:  # a damaged file fails in many ways
            raise EngineError(f"torch {self.version()} cannot load {path}: {error}") from error
        return_freed_memory()
        return block

    def feed(self, array: Array) -> torch.Tensor:
        """The array's memory as a tensor; a copy where it is not contiguous or writeable, or not for the CPU."""
        return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(self.device)

    def fetch(self, tensor: torch.Tensor) -> Array:
        """The tensor in ordinary memory, in the order of its dimensions."""
        array: Array = tensor.cpu().contiguous().numpy()
        return array


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineError(f"torch has no device {name!r} here: {error}; use `cpu`") from error
    return device
