"""Which variants to measure where there is no time for all: each block's original, and what is unlike any other.

A prediction is as good as the nearest measured block is like it (`estimator`). So the variant that is least like any
chosen one is chosen next (farthest-point design: Johnson, Moore and Ylvisaker, "Minimax and maximin distance designs",
Journal of Statistical Planning and Inference 26, 1990), until all have one near. Twins, such as a block in half
precision that is run in full, are never measured twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from blockprofiles.blobs import blobs_of
from blockprofiles.estimator import distances, rows_of
from blockprofiles.operators import Operator
from blockstore.block import Model

NEAR: Final = 0.5
"""Distance at which a variant needs no measurement of its own: it has half of the work of one that has, or as much of
another sort. Of 203 blobs of three networks 47 are left, with 28% of the time of all."""
_KERNEL_MS: Final = 2e-3
_MULTIPLY_ADD_MS: Final = 1e-8
_ELEMENT_MS: Final = 5e-8
"""Rough, of one core of an x86 server: only how they compare matters, before anything is measured."""


def designed_subset(
    models: Sequence[Model], engine: str, operators: Mapping[str, Sequence[Operator]]
) -> frozenset[str]:
    """Digests of the blobs to measure, of those that `engine` runs; the same choice each time.

    `operators` has those of all such blobs by digest; a blob without them is taken as one, from its manifest.
    """
    blobs = {blob.digest: blob for model in models for blob in blobs_of(model, engine)}
    if not blobs:
        return frozenset()
    digests = list(blobs)
    parts = [_rough_parts(operators.get(digest) or blobs[digest].whole) for digest in digests]
    rows = rows_of(parts, sorted({name for each in parts for name in each}))
    apart = distances(rows, rows)
    originals = _originals(models, engine)
    chosen = [index for index, digest in enumerate(digests) if digest in originals]
    nearest = apart[:, chosen].min(axis=1)
    while nearest.max() > NEAR:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, apart[:, chosen[-1]])
    return frozenset(digests[index] for index in chosen)


def _originals(models: Sequence[Model], engine: str) -> set[str]:
    """Of each block the first variant that runs: without one of each no route can be timed."""
    found = set()
    for block in (block for model in models for block in model.blocks):
        artifacts = [a for variant in block.variants if (a := variant.artifact(engine)) is not None]
        found |= {artifacts[0].digest} if artifacts else set()
    return found


def _rough_parts(operators: Sequence[Operator]) -> dict[str, float]:
    """About what each type of operator takes, in ms."""
    parts: dict[str, float] = defaultdict(float)
    for operator in operators:
        moved_ms = _ELEMENT_MS * (operator.inputs + operator.outputs)
        parts[operator.type] += _KERNEL_MS + _MULTIPLY_ADD_MS * operator.multiply_adds + moved_ms
    return dict(parts)
