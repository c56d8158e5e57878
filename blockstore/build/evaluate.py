"""Evaluate: run routes on the held-out images and tally what each is worth.

Routes with a common beginning share its computation: they are walked as a tree, one batch of images at a time. In
memory are one batch's tensors between the blocks of one route (`batch_size` times the bytes of every block's output),
one tally for each route and the task's reference; see `blockstore.build.tasks.base` for what those hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from blockstore.accuracy_model import Route
from blockstore.build.images import Labelled
from blockstore.build.tasks.base import Array, Outputs, Reference, Tally, Task

Runner = Callable[[Array], Outputs]
"""A loaded variant: its input `[batch, ...]` to its output `[batch, ...]`; the last block's may be several outputs."""
Blocks = Sequence[Sequence[Runner]]
"""The variants of each block, the original first."""


def refer(task: Task, blocks: Blocks, data: Labelled, batch_size: int) -> Reference:
    """What routes are compared with: one pass of the original network over `data`."""

    def originals() -> Iterator[Outputs]:
        for start in range(0, len(data), batch_size):
            outputs: Outputs = data.images[start : start + batch_size]
            for block in blocks:
                outputs = block[0](_tensor(outputs))
            yield outputs

    return task.reference(originals(), data)


def route_tallies(
    blocks: Blocks,
    routes: Iterable[Route],
    images: Array,
    first: int,
    reference: Reference,
    batch_size: int,
) -> dict[Route, Tally]:
    """What each route is worth on `images`, uint8 `[n, h, w, c]`, which are those from `first` on of the reference's.

    Tallies of several slices of the images add up (`merged`), and so do those of several processes.
    """
    routes = list(routes)
    tree = _tree(routes)
    tallies: dict[Route, Tally] = {}

    def add(route: Route, outputs: Outputs, image: int) -> None:
        tally = reference.tally(outputs, image)
        tallies[route] = tallies[route] + tally if route in tallies else tally

    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        for route, outputs in _walk(blocks, tree, batch, ()):
            add(route, outputs, first + start)
    return tallies


def merged(one: dict[Route, Tally], other: dict[Route, Tally]) -> dict[Route, Tally]:
    """Tallies of the same routes on different images, together."""
    return {route: tally + other[route] for route, tally in one.items()}


Tree = dict[int, "Tree"]


def _tree(routes: Iterable[Route]) -> Tree:
    root: Tree = {}
    for route in routes:
        node = root
        for variant in route:
            node = node.setdefault(variant, {})
    return root


def _walk(blocks: Blocks, tree: Tree, outputs: Outputs, begun: Route) -> Iterator[tuple[Route, Outputs]]:
    """Every route of `tree` with what it gives; `outputs` is what the blocks `begun` have given."""
    if not tree:
        yield begun, outputs
    for variant, rest in tree.items():
        yield from _walk(blocks, rest, blocks[len(begun)][variant](_tensor(outputs)), (*begun, variant))


def _tensor(outputs: Outputs) -> Array:
    assert not isinstance(outputs, tuple), "only the last block has several outputs"
    return outputs
