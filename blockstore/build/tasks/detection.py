"""Detection: boxes with a class and a score, decoded from the outputs by a function of the user's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from blockstore.build.images import Labelled
from blockstore.build.tasks import base
from blockstore.build.tasks.functions import NamedFunction
from blockstore.errors import CannotBuild

Boxes = npt.NDArray[np.float32]
"""`[k, 6]` as decoded: x1, y1, x2, y2, score, class; `[k, 5]` as labels: x1, y1, x2, y2, class."""
OVERLAP: Final = 0.5
"""Intersection over union from which two boxes are the same object (PASCAL VOC)."""


@dataclass(frozen=True, slots=True)
class Detection:
    """Accuracy is mAP@0.5 where there are labels, else agreement with the original's boxes.

    Agreement is the F1 of a route's boxes with the original's over all images together: a box agrees with one of the
    same class that it overlaps by at least `OVERLAP`, each with one. `decode(outputs)` gives for each image of a batch
    float32 `[k, 6]`: x1, y1, x2, y2, score, class. The reference keeps the original's boxes, 24 bytes each.
    """

    decode: NamedFunction

    @property
    def key(self) -> str:
        """Name and source of the decoder."""
        return f"detection?decode={self.decode.key}"

    def check(self, data: Labelled, classes: tuple[str, ...]) -> None:
        """Labels, where there are any, are boxes of classes that have a name; at least one in all."""
        if data.labels is None:
            return
        if isinstance(data.labels, np.ndarray):
            raise CannotBuild(
                "the held-out labels are a class for each image, detection needs boxes [k, 5] or no labels"
            )
        found = np.concatenate([boxes[:, 4] for boxes in data.labels])
        if len(found) == 0:
            raise CannotBuild(
                f"there is no box on any of {len(data)} held-out images: give labels=None to go by agreement"
            )
        wrong = found[(found != np.round(found)) | (found < 0) | (found >= len(classes))]
        if len(wrong):
            raise CannotBuild(
                f"a held-out box has class {wrong[0]:g}, for {len(classes)} classes it is 0 to {len(classes) - 1}"
            )

    def reference(self, originals: Iterable[base.Outputs], data: Labelled) -> DetectionReference:
        """The original's boxes of each image."""
        boxes = tuple(found for outputs in originals for found in _decoded(self.decode, outputs))
        if isinstance(data.labels, np.ndarray):
            raise CannotBuild("detection needs boxes [k, 5] as labels, or no labels")
        return DetectionReference(self.decode, boxes, data.labels)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionReference:
    """The original's boxes of each image and, where there are any, the true ones."""

    decode: NamedFunction
    said: Sequence[Boxes]
    truth: Sequence[Boxes] | None

    def tally(self, outputs: base.Outputs, first: int) -> DetectionTally:
        """Match the boxes of each image with the original's, and with the labels."""
        tally: DetectionTally | None = None
        for image, found in enumerate(_decoded(self.decode, outputs), start=first):
            one = self._image(found, image)
            tally = one if tally is None else tally + one
        assert tally is not None, "a batch has at least one image"
        return tally

    def _image(self, found: Boxes, image: int) -> DetectionTally:
        said = self.said[image]
        agreeing = int(matches(found, said[:, :4], said[:, 5]).sum())
        if self.truth is None:
            return DetectionTally(agreeing, len(found), len(said), None)
        truth = self.truth[image]
        right = matches(found, truth[:, :4], truth[:, 4])
        ranked = np.column_stack([found[:, 5], found[:, 4], right]).astype(np.float32)
        return DetectionTally(agreeing, len(found), len(said), Ranking((ranked,), (truth[:, 4],)))


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What average precision needs: 12 bytes for each box found, 4 for each true one."""

    found: tuple[npt.NDArray[np.float32], ...]
    """`[k, 3]` for each image: class, score, 1 where the box is right."""
    truth: tuple[npt.NDArray[np.float32], ...]
    """`[k]` for each image: the classes of the true boxes."""

    def __add__(self, other: Ranking) -> Ranking:
        return Ranking(self.found + other.found, self.truth + other.truth)

    def mean_average_precision(self) -> float:
        """Mean over the classes that occur in the labels of the area under precision over recall, not interpolated.

        Boxes that were not found count: scikit-learn's average precision takes recall among the ones that were.
        """
        found, truth = np.concatenate(self.found), np.concatenate(self.truth)
        precisions = []
        for label in np.unique(truth):
            of_class = found[found[:, 0] == label]
            right = int(of_class[:, 2].sum())
            among_found = average_precision_score(of_class[:, 2], of_class[:, 1]) if right else 0.0
            precisions.append(among_found * right / int((truth == label).sum()))
        return float(np.mean(precisions)) if precisions else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class DetectionTally:
    """How many boxes agree, how many the route and the original have, and what was right (None: no labels)."""

    agreeing: int
    found: int
    said: int
    ranking: Ranking | None

    def __add__(self, other: DetectionTally) -> DetectionTally:
        ranking = None if self.ranking is None or other.ranking is None else self.ranking + other.ranking
        return DetectionTally(self.agreeing + other.agreeing, self.found + other.found, self.said + other.said, ranking)

    def score(self) -> base.Score:
        """`agreement_f1`, `agreement_precision`, `agreement_recall` and, with labels, `map50`."""
        both = self.found + self.said
        figures = {
            # Nothing found where the original finds nothing is agreement.
            "agreement_f1": 2 * self.agreeing / both if both else 1.0,
            "agreement_precision": self.agreeing / self.found if self.found else 1.0,
            "agreement_recall": self.agreeing / self.said if self.said else 1.0,
        }
        if self.ranking is None:
            return base.Score(figures["agreement_f1"], figures)
        figures["map50"] = self.ranking.mean_average_precision()
        return base.Score(figures["map50"], figures)


def matches(found: Boxes, others: npt.NDArray[np.float32], classes: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which of `found` `[k, 6]` meet one of `others` `[m, 4]` of their class.

    Greedy from the highest score, as in COCO's evaluation: each takes, of those of its class that are left, the one
    that it overlaps most.
    """
    matched = np.zeros(len(found), dtype=bool)
    overlaps = intersection_over_union(found[:, :4], others)
    overlaps[found[:, 5][:, None] != classes[None, :]] = 0
    if len(others) == 0:
        return matched
    for box in np.argsort(-found[:, 4], kind="stable"):
        other = int(overlaps[box].argmax())
        if overlaps[box, other] >= OVERLAP:
            matched[box] = True
            overlaps[:, other] = 0
    return matched


def intersection_over_union(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`[k, m]`, 0 to 1, of boxes `[k, 4]` and `[m, 4]`: x1, y1, x2, y2."""
    size = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.prod(np.maximum(size, 0), axis=2)
    union = _areas(a)[:, None] + _areas(b)[None, :] - shared
    overlap: npt.NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _areas(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    areas: npt.NDArray[np.float32] = np.prod(np.maximum(boxes[:, 2:4] - boxes[:, :2], 0), axis=1)
    return areas


def _decoded(decode: NamedFunction, outputs: base.Outputs) -> list[Boxes]:
    """What the user's decoder gives, checked. Boxes that a ruined network puts at no finite place are dropped."""
    images = len(outputs[0] if isinstance(outputs, tuple) else outputs)
    given = decode(outputs)
    if not isinstance(given, Sequence | np.ndarray) or len(given) != images:
        length = f" of {len(given)}" if isinstance(given, Sequence | np.ndarray) else ""
        raise CannotBuild(
            f"{decode.name} gave a {type(given).__name__}{length} for {images} images: one array [k, 6] each"
        )
    for boxes in given:
        if not isinstance(boxes, np.ndarray) or boxes.ndim != 2 or boxes.shape[1] != 6:
            shape = list(boxes.shape) if isinstance(boxes, np.ndarray) else type(boxes).__name__
            raise CannotBuild(f"{decode.name} gave {shape} for an image: x1, y1, x2, y2, score, class is [k, 6]")
    arrays = [boxes.astype(np.float32) for boxes in given]
    return [boxes[np.isfinite(boxes).all(axis=1)] for boxes in arrays]
