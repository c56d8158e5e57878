"""The second way to trace a network: torch.export unrolls what torch.fx cannot follow, and ONNX carries it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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
            reason = str(error).strip().partition("\n")[0]
            raise CannotCut(f"torch.export cannot trace the network: {reason or type(error).__name__}") from error
    assert exported is not None, "without a file to write to the exporter returns the program"
    return import_onnx(exported.model_proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs that torchvision is missing, and warns of its own inside."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
