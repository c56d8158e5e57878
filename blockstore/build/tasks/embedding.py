"""Embedding: a vector for each image, alike for images of the same thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blockstore.build.images import ClassLabels, Labelled
from blockstore.build.tasks import base
from blockstore.errors import CannotBuild

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedding:
    """Accuracy is rank-1 identification where there are labels, else mean cosine similarity to the original's vector.

    Rank-1 is the share of images whose nearest other image (by cosine) has the same label. It is the main figure
    because it is what an app notices, and of the same kind as top-1, where a cosine means something else for each
    network: MobileFaceNet with 10% noise on its weights keeps a rank-1 of 0.98 (0.99 without) at a cosine of 0.78, with
    15% it is 0.85 at 0.53 (200 faces). `cosine` is kept beside it. The other images' vectors are the original's: an app
    enrols its gallery once, and the route changes afterwards. That also lets tallies stay small.

    Outputs are float32 `[batch, length]`. The reference keeps `4 * length` bytes an image.
    """

    key: str = "embedding"

    def check(self, data: Labelled, classes: tuple[str, ...]) -> None:  # noqa: ARG002  # every task is asked alike
        """Labels, where there are any, name the same thing by the same number; they need no class names."""
        if data.labels is None:
            return
        _, counts = np.unique(data.class_labels(), return_counts=True)
        if counts.max() < 2:
            raise CannotBuild(
                f"all {len(data)} held-out labels differ: rank-1 needs two images of one label, or no labels"
            )

    def reference(self, originals: Iterable[base.Outputs], data: Labelled) -> EmbeddingReference:
        """The original's vector of each image."""
        gallery = np.concatenate([_directions(outputs) for outputs in originals])
        return EmbeddingReference(gallery, None if data.labels is None else data.class_labels())


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingReference:
    """The original's vectors, float32 `[n, length]` of length 1, and the labels."""

    gallery: Vectors
    labels: ClassLabels | None

    def tally(self, outputs: base.Outputs, first: int) -> EmbeddingTally:
        """Compare each vector with its own in the gallery, and find the nearest of the others."""
        vectors = _directions(outputs)
        images = np.arange(first, first + len(vectors))
        cosines = float(np.einsum("il,il->i", vectors, self.gallery[images]).sum(dtype=np.float64))
        if self.labels is None:
            return EmbeddingTally(len(vectors), cosines, None)
        likeness = vectors @ self.gallery.T
        likeness[np.arange(len(images)), images] = -np.inf
        hits = int((self.labels[likeness.argmax(axis=1)] == self.labels[images]).sum())
        return EmbeddingTally(len(vectors), cosines, hits)


@dataclass(frozen=True, slots=True)
class EmbeddingTally:
    """Sum of the cosines, and how many images found one of the same label (None: there are no labels)."""

    images: int
    cosines: float
    hits: int | None

    def __add__(self, other: EmbeddingTally) -> EmbeddingTally:
        hits = None if self.hits is None or other.hits is None else self.hits + other.hits
        return EmbeddingTally(self.images + other.images, self.cosines + other.cosines, hits)

    def score(self) -> base.Score:
        """`cosine` and, with labels, `rank1`. A negative mean cosine counts as accuracy 0."""
        cosine = self.cosines / self.images
        if self.hits is None:
            return base.Score(min(1.0, max(0.0, cosine)), {"cosine": cosine})
        return base.Score(self.hits / self.images, {"cosine": cosine, "rank1": self.hits / self.images})


def _directions(outputs: base.Outputs) -> Vectors:
    """Vectors of length 1; one of zeros, or with a number that is not finite, becomes zeros: it is like no other."""
    vectors = base.single(outputs, "embedding").astype(np.float32)
    if vectors.ndim != 2:
        raise CannotBuild(f"the network gives {list(vectors.shape)}, embedding needs [batch, length]")
    vectors[~np.isfinite(vectors).all(axis=1)] = 0
    directions: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return directions
