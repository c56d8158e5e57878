"""Assembly: the right artifact for each block, clear errors, and blocks run in order."""

from __future__ import annotations

from typing import Any

import pytest

from blockstore.assembly import Chain, assemble, load_chain
from blockstore.blobs import digest_of
from blockstore.block import Artifact
from blockstore.errors import MissingVariant
from tests.blockstore.samples import sample

MODEL = sample(digest_of, engines=("onnxruntime",))


class _Appends:
    """A block whose output is its input and its own name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, tensor: Any) -> Any:
        return (*tensor, self.name)


def test_each_block_gets_the_artifact_of_its_variant() -> None:
    """In block order, for the engine asked for."""
    parts = assemble(MODEL, ["original", "pruned50"], "onnxruntime")
    assert [(p.block.index, p.variant.name) for p in parts] == [(0, "original"), (1, "pruned50")]
    assert parts[1].artifact == MODEL.blocks[1].variants[1].artifacts[0]


@pytest.mark.parametrize(
    ("variants", "engine", "message"),
    [
        (["original"], "onnxruntime", "has 2 blocks, 1 variants were named"),
        (["original", "half"], "onnxruntime", r"block 1 \(head\).*no variant 'half'; it has original, pruned50"),
        (["original", "pruned50"], "torch", r"block 0 \(stem\).*no artifact for torch, only for onnxruntime"),
    ],
)
def test_what_cannot_be_assembled_is_refused(variants: list[str], engine: str, message: str) -> None:
    """The message names block, value and what there is."""
    with pytest.raises(MissingVariant, match=message):
        assemble(MODEL, variants, engine)


def test_a_chain_runs_its_blocks_in_order() -> None:
    """Each takes what the one before it gave."""
    assert Chain((_Appends("a"), _Appends("b"), _Appends("c"))).run(()) == ("a", "b", "c")


def test_a_chain_run_at_once_and_block_by_block_gives_the_same() -> None:
    """As the executor and the benchmarks do it."""
    chain = load_chain(assemble(MODEL, ["pruned50", "original"], "onnxruntime"), lambda a: _Appends(a.digest))
    tensor: Any = ()
    for block in chain.blocks:
        tensor = block.run(tensor)
    assert tensor == chain.run(())
    assert tensor == tuple(p.artifact.digest for p in assemble(MODEL, ["pruned50", "original"], "onnxruntime"))


def test_equal_artifacts_are_loaded_once() -> None:
    """Equal blobs are counted once in memory."""
    model = sample(lambda data: digest_of(b"the same for all"))
    loads: list[str] = []

    def load(artifact: Artifact) -> _Appends:
        loads.append(artifact.digest)
        return _Appends("x")

    chain = load_chain(assemble(model, ["original", "original"], "onnxruntime"), load)
    assert len(loads) == 1
    assert chain.run(()) == ("x", "x")
