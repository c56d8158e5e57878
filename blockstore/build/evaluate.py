"""Evaluate: measured accuracy of routes, and from it one accuracy drop for each variant.

The optimizer adds drops up, so a drop is the number that makes sums come out right. LegoDNN (section 4.2 and the
authors' code) averages over three contexts of the other blocks: all original, all middle, all smallest. Those routes
and random ones are measured here, and drops that are not negative are fitted to all of them by least squares.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LinearRegression

from blockstore.build.images import Labelled

Array = npt.NDArray[np.generic]
Route = tuple[int, ...]
"""Position of the variant of each block; 0 is the original."""
Runner = Callable[[Array], Array]
"""A loaded variant: its input `[batch, ...]` to its output `[batch, ...]`."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What was measured of a model and its variants."""

    original: float
    """Accuracy of the all-original route, 0 to 1."""
    drops: tuple[tuple[float, ...], ...]
    """For each block, the accuracy drop of each variant, the original first (0)."""
    error: float
    """Mean absolute error of `original - sum of drops` on routes that the fit has not seen."""
    averaged_error: float
    """The same for drops that are averaged over the three contexts, as in LegoDNN."""
    checked_routes: int


def evaluate(
    measure: Callable[[Iterable[Route]], Mapping[Route, float]],
    widths: Sequence[int],
    fit_routes: int,
    check_routes: int,
    seed: int,
) -> Accuracy:
    """Accuracy of a model whose block `i` has `widths[i]` variants; `measure` runs routes on the held-out images."""
    contexts = context_routes(widths)
    drawn = random_routes(widths, fit_routes + check_routes, seed, apart_from=contexts)
    fitted, checked = drawn[:fit_routes], drawn[fit_routes:]
    measured = measure([*contexts, *drawn])
    original = measured[(0,) * len(widths)]
    averaged = averaged_drops(measured, widths)
    drops = fit_drops({r: measured[r] for r in (*contexts, *fitted)}, original, widths)
    return Accuracy(
        original,
        drops,
        _error(drops, original, {r: measured[r] for r in checked}),
        _error(averaged, original, {r: measured[r] for r in checked}),
        len(checked),
    )


def context_routes(widths: Sequence[int]) -> list[Route]:
    """Every variant with all other blocks original, at their middle variant, and at their smallest one."""
    routes: dict[Route, None] = {}
    for context in _contexts(widths):
        for block, count in enumerate(widths):
            for variant in range(count):
                routes[(*context[:block], variant, *context[block + 1 :])] = None
    return list(routes)


def random_routes(widths: Sequence[int], count: int, seed: int, apart_from: Iterable[Route]) -> list[Route]:
    """`count` different routes, or as many as there are, none of them in `apart_from`."""
    known = set(apart_from)
    total = int(np.prod(widths))
    chosen: dict[Route, None] = {}
    # Not for secrets: the same seed must draw the same routes.
    generator = random.Random(seed)  # noqa: S311
    while len(chosen) < min(count, total - len(known)):
        route = tuple(generator.randrange(n) for n in widths)
        if route not in known:
            chosen[route] = None
    return list(chosen)


def averaged_drops(measured: Mapping[Route, float], widths: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """Drop of each variant against the original of its block, averaged over the three contexts."""
    contexts = _contexts(widths)

    def drop(block: int, variant: int) -> float:
        pairs = [((*c[:block], 0, *c[block + 1 :]), (*c[:block], variant, *c[block + 1 :])) for c in contexts]
        return sum(measured[a] - measured[b] for a, b in pairs) / len(pairs)

    return tuple(tuple(drop(block, v) for v in range(n)) for block, n in enumerate(widths))


def fit_drops(measured: Mapping[Route, float], original: float, widths: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """Drops, none negative and 0 for originals, whose sums are nearest to the measured ones (least squares)."""
    columns = {(b, v): None for b, n in enumerate(widths) for v in range(1, n)}
    position = {key: i for i, key in enumerate(columns)}
    matrix = np.zeros((len(measured), len(columns)))
    for row, route in enumerate(measured):
        for block, variant in enumerate(route):
            if variant:
                matrix[row, position[block, variant]] = 1.0
    target = np.array([original - accuracy for accuracy in measured.values()])
    solution = np.zeros(0)
    if columns:
        solution = LinearRegression(fit_intercept=False, positive=True).fit(matrix, target).coef_
    return tuple(
        tuple(0.0 if v == 0 else float(solution[position[b, v]]) for v in range(n)) for b, n in enumerate(widths)
    )


def route_accuracies(
    blocks: Sequence[Sequence[Runner]],
    routes: Iterable[Route],
    data: Labelled,
    batch_size: int,
    progress: Callable[[int, int], None],
) -> dict[Route, float]:
    """Share of `data` that each route labels correctly (top-1).

    Routes with a common beginning share its computation: they are walked as a tree, one batch of images at a time.
    """
    routes = list(routes)
    tree = _tree(routes)
    correct = dict.fromkeys(routes, 0)
    for start in range(0, len(data), batch_size):
        labels = data.labels[start : start + batch_size]
        _walk(blocks, tree, data.images[start : start + batch_size], (), labels, correct)
        progress(min(start + batch_size, len(data)), len(data))
    return {route: hits / len(data) for route, hits in correct.items()}


Tree = dict[int, "Tree"]


def _tree(routes: Iterable[Route]) -> Tree:
    root: Tree = {}
    for route in routes:
        node = root
        for variant in route:
            node = node.setdefault(variant, {})
    return root


def _walk(
    blocks: Sequence[Sequence[Runner]],
    tree: Tree,
    tensor: Array,
    begun: Route,
    labels: npt.NDArray[np.int64],
    correct: dict[Route, int],
) -> None:
    if not tree:
        correct[begun] += int((np.argmax(tensor, axis=1) == labels).sum())
    for variant, rest in tree.items():
        _walk(blocks, rest, blocks[len(begun)][variant](tensor), (*begun, variant), labels, correct)


def _contexts(widths: Sequence[int]) -> list[Route]:
    return [tuple(0 for _ in widths), tuple(n // 2 for n in widths), tuple(n - 1 for n in widths)]


def _error(drops: Sequence[Sequence[float]], original: float, measured: Mapping[Route, float]) -> float:
    """Mean absolute difference between predicted and measured accuracy; 0 where no route was measured."""
    errors = [
        abs(original - sum(drops[b][v] for b, v in enumerate(route)) - accuracy) for route, accuracy in measured.items()
    ]
    return float(np.mean(errors)) if errors else 0.0
