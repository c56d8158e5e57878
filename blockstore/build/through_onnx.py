"""The second way to trace a network: torch.export unrolls what torch.fx cannot follow, and ONNX carries it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch
from torch import Tensor, fx, nn

from blockstore.errors import CannotCut


def through_onnx(network: nn.Module, images: Tensor) -> fx.GraphModule:
    """`network`, in evaluation mode, as torch.export sees it for `images`, `[1, channels, h, w]`.

    Raises `CannotCut` where torch.export cannot (control flow that depends on values), and what the importer raises.
    """
    # Needed by few networks, and slow to import.
    from blockstore.build.onnximport.importer import import_onnx

    with _quiet():
        try:
            program = torch.export.export(network, (images,), strict=False)
            exported = torch.onnx.export(program, dynamo=True, verbose=False)
        # Like torch.fx, it runs the network's own code, which may raise anything.
        except Exception as error:
            raise CannotCut(f"torch.export cannot trace the network: {_reason(error)}") from error
    assert exported is not None, "without a file to write to the exporter returns the program"
    return import_onnx(exported.model_proto.SerializeToString())


def _reason(error: Exception) -> str:
    """The first line of `error`; its own name for a value is no help to the network's author."""
    first = str(error).strip().partition("\n")[0]
    if "data-dependent" in first:
        return (
            "what it does depends on values of a tensor: `forward` may use them in torch.where, but not in an `if`, "
            f"as a size or to choose rows ({first})"
        )
    return first or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs that torchvision is missing, warns of its own inside, and prints the graph where it fails."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
