"""One ONNX graph of several blocks: each takes what the one before it gives. The only file here that needs `onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class CannotMerge(Exception):
    """These graphs cannot become one; the message says why."""


def merged_graph(paths: Sequence[Path]) -> bytes:
    """The blobs of neighbouring blocks, in order, as one ONNX file with their weights as they are.

    Raises `CannotMerge` where the blocks ask for different versions of an operator set, or the whole is too large for
    one file; `ModuleNotFoundError` without the package `onnx`.
    """
    import onnx
    from onnx import compose

    models = [onnx.load(path) for path in paths]
    _check_operator_sets(models)
    # What two blocks call the same is not: every name gets the number of its block in front.
    blocks = [compose.add_prefix(model, f"block{i}/") for i, model in enumerate(models)]
    whole = blocks[0]
    try:
        for block in blocks[1:]:
            # Notes of the exporter, which need not agree.
            del whole.metadata_props[:], block.metadata_props[:]
            joint = (whole.graph.output[0].name, block.graph.input[0].name)
            whole = compose.merge_models(whole, block, io_map=[joint])
        return bytes(whole.SerializeToString())
    # onnx's own: other IR versions, files above 2 GB, a whole that its checker refuses.
    except Exception as error:
        raise CannotMerge(f"onnx {onnx.__version__}: {error}") from error


def _check_operator_sets(models: Sequence[Any]) -> None:
    versions: dict[str, int] = {}
    for number, model in enumerate(models):
        for used in model.opset_import:
            version = versions.setdefault(used.domain, used.version)
            if version != used.version:
                raise CannotMerge(
                    f"its block {number} uses version {used.version} of the operator set {used.domain or 'ai.onnx'}, "
                    f"a block before it version {version}"
                )
