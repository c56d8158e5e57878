"""What blocks give along routes, and variants that no head fits."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from blockstore.build.checkpoint import Work
from blockstore.build.exits.features import Variants, shuffled, steps
from blockstore.build.export import export
from blockstore.build.trace import example
from blockstore.build.variants import keep
from blockstore.errors import CannotBuild
from tests.blockstore.build.exits import coloured


def test_outputs_are_those_of_the_blocks_of_the_route(tmp_path: Path) -> None:
    blocks = coloured.blocks()
    variants = Variants.load(coloured.finished(tmp_path, blocks, halved=(1,)), threads=1)
    assert variants.names == (("original",), ("original", coloured.HALF), ("original",), ("original",))
    images = coloured.pictures(3, 0).images
    plain, halved = (variants.walk(route, images, {0, 2}) for route in (variants.original, variants.uniform("half")))
    x = torch.from_numpy(images)
    with torch.no_grad():
        expected = [x := block.module(x) for block in blocks]
    assert sorted(plain) == [0, 2]
    assert np.allclose(plain[2], expected[2].numpy(), atol=1e-4)
    assert np.array_equal(plain[0], halved[0])
    assert not np.allclose(plain[2], halved[2], atol=1e-2)


def test_routes_are_drawn_with_every_variant_of_every_block(tmp_path: Path) -> None:
    variants = Variants.load(coloured.finished(tmp_path, coloured.blocks(), halved=(0, 2)), threads=1)
    draw = np.random.default_rng(0)
    routes = {variants.drawn(draw) for _ in range(100)}
    assert routes == {(a, 0, b, 0) for a in (0, 1) for b in (0, 1)}
    assert variants.uniform(coloured.HALF) == (1, 0, 1, 0)
    assert variants.kinds() == [coloured.HALF]


def test_a_variant_of_another_shape_than_a_head_takes_is_named(tmp_path: Path) -> None:
    blocks = coloured.blocks()
    made = coloured.finished(tmp_path, blocks)
    wider = copy.deepcopy(blocks[0].module)
    (last,) = (node for node in wider.graph.nodes if node.op == "output")
    with wider.graph.inserting_before(last):
        padded = wider.graph.call_function(nn.functional.pad, (last.args[0], (0, 1, 0, 1)))
    last.args = (padded,)
    wider.recompile()
    frames = example(blocks[0].input)
    made.insert(1, keep(Work(tmp_path), 0, "wide", "wide", export(wider, blocks[0].input, frames), {}))
    variants = Variants.load(made, threads=1)
    with pytest.raises(
        CannotBuild, match=r"variant 'wide' of block 0 gives \[8, 13, 13\], the head .* float32\[8x12x12\]"
    ):
        variants.check(blocks, coloured.pictures(1, 0).images)


def test_variants_of_the_shape_of_their_blocks_pass(tmp_path: Path) -> None:
    blocks = coloured.blocks()
    made = coloured.finished(tmp_path, blocks, halved=(0, 1, 2))
    Variants.load(made, threads=1).check(blocks, coloured.pictures(1, 0).images)


def test_every_image_comes_once_an_epoch_but_those_that_fill_no_batch() -> None:
    draw = np.random.default_rng(0)
    stream = shuffled(10, 4, draw)
    assert steps(3, 10, 4) == 6
    epochs = [np.concatenate([next(stream) for _ in range(2)]).tolist() for _ in range(3)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    assert steps(2, 3, 64) == 2
    assert sorted(next(shuffled(3, 64, np.random.default_rng(0)))) == [0, 1, 2]
