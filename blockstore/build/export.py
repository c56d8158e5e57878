"""Export: one block in every form that an engine runs, checked against each other on the block's real input."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
import torch_pruning as tp
from torch import Tensor, fx

from blockstore import torchform
from blockstore.block import TensorSpec
from blockstore.build.trace import example
from blockstore.errors import CannotBuild

OPSET: Final = 17
"""onnxruntime runs it since 1.12."""
TOLERANCE: Final = 1e-3
"""Largest difference allowed between the forms, relative to the largest output."""


@dataclass(frozen=True, slots=True)
class Forms:
    """One variant as the files that engines run, with what can be counted."""

    onnx: bytes
    torch: bytes | None
    """None where the variant has no torch form (INT8)."""
    parameters: int
    multiply_adds: int
    """For one frame."""


def export(block: fx.GraphModule, spec: TensorSpec, inputs: Tensor) -> Forms:
    """Both forms of `block`, which takes `spec`; they are compared on `inputs`, `[batch, *spec.shape]`.

    Raises `CannotBuild` where there is no ONNX form or the two differ by more than `TOLERANCE`.
    """
    written = torchform.save(block)
    # The ONNX form is made of the torch form as it will be read back, so both have the same names and numbers.
    canonical = torchform.load(written)
    onnx = to_onnx(canonical, (spec,))
    difference = _difference(canonical, onnx, inputs)
    # Not a number is no agreement either.
    if not difference <= TOLERANCE:
        raise CannotBuild(f"the ONNX form of a block differs from torch by {difference:.2g}, allowed is {TOLERANCE}")
    multiply_adds, _ = tp.utils.count_ops_and_params(canonical, example(spec, batch=1))
    parameters = sum(p.numel() for p in canonical.parameters())
    return Forms(onnx, written, parameters, int(multiply_adds))


def to_onnx(module: fx.GraphModule, specs: Sequence[TensorSpec], outputs: Sequence[str] = ("output",)) -> bytes:
    """`module` as an ONNX file whose tensors `input`, `input1`, ... and `outputs` have a free first dimension.

    Raises `CannotBuild` with the exporter's reason.
    """
    inputs = [f"input{number or ''}" for number in range(len(specs))]
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated; it takes 9 ms a block where the newer one takes over a second, and
        # it needs no further package.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        try:
            torch.onnx.export(
                module,
                tuple(map(example, specs)),
                file,  # type: ignore[arg-type]  # this exporter takes a file; the annotation is the newer one's
                dynamo=False,
                input_names=inputs,
                output_names=list(outputs),
                dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
                opset_version=OPSET,
            )
        # The exporter's own errors are RuntimeErrors, as are those of the operators that it runs.
        except (RuntimeError, ValueError, TypeError) as error:
            taken = " and ".join(map(str, specs))
            raise CannotBuild(f"what takes {taken} has no ONNX form: {str(error).splitlines()[0]}") from error
    return file.getvalue()


def session(onnx: bytes, threads: int) -> onnxruntime.InferenceSession:
    """An onnxruntime session of `onnx` on the CPU with `threads` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait take the cores from whatever else runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def run(loaded: onnxruntime.InferenceSession, inputs: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """The block's output for `inputs`."""
    output: npt.NDArray[np.float32] = loaded.run(["output"], {"input": inputs})[0]
    return output


def _difference(block: fx.GraphModule, onnx: bytes, inputs: Tensor) -> float:
    with torch.no_grad():
        expected = block(inputs).numpy()
    got = run(session(onnx, threads=1), inputs.numpy())
    return float(np.abs(got - expected).max() / max(float(np.abs(expected).max()), 1e-6))
