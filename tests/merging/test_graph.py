"""Blocks as one graph: what it computes, and what cannot be one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from schedulerd.merging.graph import CannotMerge, merged_graph
from schedulerd.serving.engines.onnx import OnnxEngine
from tests.profiles import tiny


def saved(folder: Path, blocks: Sequence[bytes]) -> list[Path]:
    paths = [folder / str(number) for number in range(len(blocks))]
    for path, data in zip(paths, blocks, strict=True):
        path.write_bytes(data)
    return paths


def body(seed: int) -> bytes:
    return tiny.convolution(np.random.default_rng(seed).standard_normal((4, 4, 3, 3)).astype(np.float32))


def test_the_merged_graph_computes_what_its_blocks_do_one_after_the_other(tmp_path: Path) -> None:
    paths = saved(tmp_path, [tiny.stem(16), body(1), body(2), tiny.head(16)])
    (tmp_path / "merged").write_bytes(merged_graph(paths))
    engine = OnnxEngine()
    frame = np.random.default_rng(0).integers(0, 256, (1, *tiny.FRAME.shape), np.uint8)
    expected = frame
    for path in paths:
        expected = engine.load(path).run(expected)
    output = engine.load(tmp_path / "merged").run(frame)
    assert np.abs(output - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_block_may_be_there_twice(tmp_path: Path) -> None:
    """Names do not clash, and each place has its weights."""
    paths = saved(tmp_path, [body(1)]) * 3
    (tmp_path / "merged").write_bytes(merged_graph(paths))
    engine = OnnxEngine()
    tensor = np.ones((2, 4, 8, 8), np.float32)
    expected = tensor
    for path in paths:
        expected = engine.load(path).run(expected)
    np.testing.assert_allclose(engine.load(tmp_path / "merged").run(tensor), expected, rtol=1e-4)


def test_blocks_of_different_operator_sets_are_refused(tmp_path: Path) -> None:
    """An operator may mean something else in another version."""
    older = tiny.onnx.load_from_string(body(2))
    older.opset_import[0].version = 13
    paths = saved(tmp_path, [body(1), older.SerializeToString()])
    with pytest.raises(CannotMerge, match=r"block 1 uses version 13 of the operator set ai.onnx, .* version 18"):
        merged_graph(paths)
