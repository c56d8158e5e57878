"""Timing of what was just built: real blocks in a real engine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from blockstore.block import ORIGINAL, Artifact, Block, Model, TensorSpec, Variant
from schedulerd.commands.timing import time_variants
from tests.blockstore.build.onnximport.files import SHAPE, file, node

SPEC = TensorSpec("float32", SHAPE[1:])
RELU, ABS, DAMAGED = file([node("Relu")]), file([node("Abs")]), b"not an ONNX file"


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def variant(name: str, data: bytes) -> Variant:
    return Variant(name, name, (Artifact("onnxruntime", digest_of(data), len(data)),), 0.0, 0, 0)


def model(folder: Path, *rows: dict[str, bytes]) -> Model:
    """A model whose blocks have these variants, with their files in `folder`."""
    for data in (data for row in rows for data in row.values()):
        (folder / digest_of(data)).write_bytes(data)
    blocks = [
        Block(i, f"part{i}", SPEC, SPEC, tuple(variant(name, data) for name, data in row.items()))
        for i, row in enumerate(rows)
    ]
    return Model("tiny", SPEC, SPEC, 0.9, 10, tuple(blocks))


def test_every_variant_that_runs_has_a_median_and_the_fault_of_another_names_it(tmp_path: Path) -> None:
    timed = time_variants(model(tmp_path, {ORIGINAL: RELU, "int8": DAMAGED}, {ORIGINAL: ABS}), tmp_path.joinpath)
    assert timed.medians_ms.keys() == {digest_of(RELU), digest_of(ABS)}
    assert min(timed.medians_ms.values()) > 0
    (fault,) = timed.faults
    # As `blockstore.build.timing` looks for it.
    assert "block 0 variant int8 " in fault
    assert "cannot load" in fault


def test_where_a_block_does_not_run_nothing_has_a_time(tmp_path: Path) -> None:
    timed = time_variants(model(tmp_path, {ORIGINAL: RELU}, {ORIGINAL: DAMAGED}), tmp_path.joinpath)
    assert timed.medians_ms == {}
    assert any("block 1" in fault for fault in timed.faults)
    assert not timed.disturbed
