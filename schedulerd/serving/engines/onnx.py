"""The onnxruntime engine: one small inference session per loaded variant or head, all of them on one memory arena.

What the settings below are for, measured with onnxruntime 1.31 on one thread. Arenas: ten blocks of MobileNetV2 at
224 x 224 kept 43 MB with a private one each and 14 MB with one for all, at the same speed; without any 1 MB, and took
51 ms at best instead of 29, for the pages that go and come.

Arrays: `InferenceSession.run` copies neither side. Of a frame of 0.9 MB in a read-only map, a graph that reads four
rows takes 14 us, and a copy 42 us. Chains of blocks by `run` with arrays, by IO bindings that hand on an `OrtValue`, by
`run_with_ort_values`, and by bindings and buffers that are kept, in us: eight blocks that do nothing 84, 164, 645, 48;
of ResNet-20 1418, 1565, 2207, 1383; that copy 4.9 MB 5350, 6230, 6380, 8480. Kept buffers are each as large as what
crosses there, cold where those of the arena are warm, and of one lane each.

Weights are not mapped from the blob. Those of external files are mapped, but a convolution's are laid out anew for the
kernel when it is loaded: 47 MB of ResNet-18 are 47 MB of memory of its own either way. The optimisation level without
that layout leaves all but 3 MB of them in the map, and a frame takes 65 ms instead of 45. Files in the library's own
format load in half the time (48 blocks of 21-74 KB: 58 ms, not 102), as large in memory, with the layout of the CPU
that they were made on; `use_ort_model_bytes_for_initializers`, which would leave weights in them, ends in a
segmentation fault.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from schedulerd.errors import EngineError
from schedulerd.serving.engines.base import HEAD_INPUTS, HEAD_OUTPUTS, Array
from schedulerd.serving.engines.heap import return_freed_memory

FIRST_REGION_BYTES = 32 * 2**20
"""Of the arena; only the pages that are used are resident."""
QUIET = 3
"""Log severity: errors only (0 verbose, 1 info, 2 warning, 3 error, 4 fatal)."""


class OnnxBlock:
    """One ONNX graph with one input and one output; `run` is safe from several threads at once."""

    def __init__(self, session: ort.InferenceSession, path: Path) -> None:
        self._path = path
        self._session = session
        self._input = _only("input", session.get_inputs(), path)
        self._outputs = [_only("output", session.get_outputs(), path)]

    def run(self, tensor: Array) -> Array:
        """Output `[batch, ...]` of input `[batch, ...]`; `EngineError` for another dtype or shape."""
        try:
            result: Array = self._session.run(self._outputs, {self._input: tensor})[0]
        except Exception as error:  # onnxruntime's own classes have no common base of their own
            raise EngineError(f"{self._path.name[:16]} cannot run {tensor.dtype}{tensor.shape}: {error}") from error
        return result


class OnnxHead:
    """One ONNX graph that gives a network's output and how sure it is; `run` is safe from several threads at once."""

    def __init__(self, session: ort.InferenceSession, path: Path) -> None:
        self._path = path
        self._session = session
        self._inputs = [node.name for node in session.get_inputs()]
        self._takes = ", ".join(f"{node.type}{node.shape}" for node in session.get_inputs())
        least, most = HEAD_INPUTS
        if not least <= len(self._inputs) <= most:
            raise EngineError(f"{path} has {len(self._inputs)} inputs; a head has {least} or {most}: export it again")
        outputs = sorted(node.name for node in session.get_outputs())
        if outputs != sorted(HEAD_OUTPUTS):
            named = ", ".join(outputs)
            raise EngineError(f"{path} gives {named}; a head gives {' and '.join(HEAD_OUTPUTS)}: export it again")

    def run(self, tensors: Sequence[Array]) -> tuple[Array, float]:
        """See `LoadedHead`; `EngineError` for tensors of another number, dtype or shape."""
        try:
            given = dict(zip(self._inputs, tensors, strict=True))
            output, confidence = self._session.run(HEAD_OUTPUTS, given)
            sure = float(confidence.item())
        except Exception as error:  # as above
            shapes = ", ".join(f"{t.dtype}{list(t.shape)}" for t in tensors)
            raise EngineError(
                f"head {self._path.name[:16]} takes {self._takes} and cannot run {shapes}: {error}"
            ) from error
        return output, math.nan if _has_nan(output) else sure


class OnnxEngine:
    """Runs ONNX blobs on the CPU. With one thread a block runs in the lane's own thread and no pool exists.

    With more, each session owns `threads - 1` workers, parked between runs (about 80 KB each): the library's
    one pool for all sessions keeps a core spinning between runs, and Python code cannot forbid that.
    """

    name = "onnxruntime"

    def __init__(self, threads: int = 1) -> None:
        if threads < 1:
            raise EngineError(f"an engine needs at least 1 thread, not {threads}")
        self.threads = threads
        ort.set_default_logger_severity(QUIET)
        _share_one_arena()

    def version(self) -> str:
        """Version of onnxruntime."""
        return str(ort.__version__)

    def load(self, path: Path) -> OnnxBlock:
        """Make a session of an ONNX file (0.5 ms for a small block); other Python threads run meanwhile."""
        return OnnxBlock(self._session(path), path)

    def load_apart(self, path: Path) -> OnnxBlock:
        """As `load`, without the arena: packed INT8 weights lie in it otherwise, and nobody can tell whose they are."""
        return OnnxBlock(self._session(path, shared=False), path)

    def load_head(self, path: Path) -> OnnxHead:
        """Make a session of the ONNX file of a head."""
        return OnnxHead(self._session(path), path)

    def feed(self, array: Array) -> Array:
        """The array itself where it is C-contiguous, else a copy that is."""
        return np.ascontiguousarray(array)

    def fetch(self, tensor: Array) -> Array:
        """The tensor itself, or a C-contiguous copy: what comes from a session is an array that owns its memory."""
        return np.ascontiguousarray(tensor)

    def join(self, tensors: Sequence[Array]) -> Array:
        """One C-contiguous array."""
        return np.concatenate(tensors)

    def _session(self, path: Path, *, shared: bool = True) -> ort.InferenceSession:
        options = _options(self.threads)
        if shared:
            options.add_session_config_entry("session.use_env_allocators", "1")
        else:
            options.enable_cpu_mem_arena = False
        try:
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        except Exception as error:  # as above
            raise EngineError(f"onnxruntime {self.version()} cannot load {path}: {error}") from error
        return_freed_memory()
        return session


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # A pattern asks for all of a block's tensors in one piece, which an arena that is in use rarely has whole: with it
    # the activations of nine routes of the demo's networks took 53 MB, without it 19 MB, and blocks are as fast.
    options.enable_mem_pattern = False
    options.log_severity_level = QUIET
    # A waiting worker sleeps; spinning would take the core from another lane.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Weights stay outside the arena: an evicted variant's go back to malloc, not into the arena's free list.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options


@functools.cache
def _share_one_arena() -> None:
    """Register the process-wide arena for activations, once.

    One large region to begin with, and doubling: regions of just what is asked for stay apart, however much of them is
    free. A daemon that serves the demo's three networks has 104 MB resident so, and 112 MB with those.
    """
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    doubling = 0
    settings = {"arena_extend_strategy": doubling, "initial_chunk_size_bytes": FIRST_REGION_BYTES}
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(settings))


def _has_nan(output: Array) -> bool:
    """Whether some number is NaN: it makes the sum of squares one, which an infinity does not.

    A head may hide it: a maximum or a clip of a NaN is a number in some kernels.
    """
    flat = output.ravel()
    return math.isnan(float(np.dot(flat, flat)))


def _only(side: str, nodes: list[Any], path: Path) -> str:
    """A block has one tensor in and one out: the name of that tensor."""
    if len(nodes) != 1:
        raise EngineError(f"{path} has {len(nodes)} {side}s; a block has 1: export it again")
    return str(nodes[0].name)
