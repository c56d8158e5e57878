"""The detector's loss: it is small where the outputs decode to the labels, and what is learned decodes to them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blockstore.build.images import Labelled
from blockstore.build.tasks.detection import Detection
from blockstore.build.tasks.functions import find
from blockstore.errors import CannotBuild
from blockstore.zoo.boxes import CLASS
from blockstore.zoo.datasets import digit_boxes
from blockstore.zoo.detector_loss import detector_loss
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.small_detector import boxes, small_detector
from blockstore.zoo.train import Lessons, train

PREPROCESS = Preprocess((0.5,), (0.25,))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads take longer than one for batches of four."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def labelled(*boxes_of_images: list[list[float]]) -> Labelled:
    frames = np.zeros((len(boxes_of_images), 96, 96, 1), np.uint8)
    return Labelled(frames, [np.array(b, dtype=np.float32).reshape(-1, 5) for b in boxes_of_images])


def empty_outputs(images: int) -> tuple[Tensor, Tensor]:
    small, large = torch.zeros(images, 15, 12, 12), torch.zeros(images, 15, 6, 6)
    small[:, 0] = large[:, 0] = -20
    return small, large


def around(x: float, y: float, size: float, label: int) -> list[float]:
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2, label]


def test_outputs_that_decode_to_the_labels_have_the_least_loss() -> None:
    """Both boxes are as large as the priors and in the middle of their cells, where all of those outputs are 0."""
    labels = [around(4.5 / 12, 2.5 / 12, 2 / 12, 3), around(3.5 / 6, 2.5 / 6, 2 / 6, 8)]
    small, large = empty_outputs(2)
    small[1, 0, 2, 4] = small[1, 5 + 3, 2, 4] = 20
    large[1, 0, 2, 3] = large[1, 5 + 8, 2, 3] = 20
    (_, found) = boxes((small.numpy(), large.numpy()))
    found = found[np.argsort(found[:, CLASS])]
    assert found[:, :4] == pytest.approx(np.array(labels)[:, :4], abs=1e-6)
    assert found[:, CLASS].tolist() == [3.0, 8.0]
    # Cross entropy with a half is log 2 at best, for x and y of each box; the loss is for each box.
    least = float(detector_loss((small, large), labelled([], labels)))
    assert least == pytest.approx(2 * np.log(2), abs=1e-3)
    large[1, 1, 2, 3] = 1
    assert float(detector_loss((small, large), labelled([], labels))) > least + 0.05


def test_a_box_that_is_not_labelled_and_a_label_that_is_not_found_cost() -> None:
    small, large = empty_outputs(1)
    label = [0.25, 0.25, 0.4, 0.4, 3]
    nothing = float(detector_loss((small, large), labelled([])))
    missed = float(detector_loss((small, large), labelled([label])))
    large[0, 0, 2, 2] = 20
    invented = float(detector_loss((small, large), labelled([])))
    assert nothing < 1e-3
    assert missed > 10
    assert invented > 10


def test_labels_that_are_no_boxes_are_refused() -> None:
    frames = np.zeros((2, 96, 96, 1), np.uint8)
    for labels in (None, np.zeros(2, np.int64)):
        with pytest.raises(CannotBuild, match="labels are boxes"):
            detector_loss(empty_outputs(2), Labelled(frames, labels))


def mean_average_precision(network: nn.Module, data: Labelled) -> float:
    with torch.no_grad():
        outputs = tuple(o.numpy() for o in network(PREPROCESS(torch.from_numpy(data.images))))
    task = Detection(find("blockstore.zoo.small_detector:boxes", 1))
    return task.reference([outputs], data).tally(outputs, 0).score().figures["map50"]


def test_a_detector_learns_digits_and_their_boxes(one_thread: None) -> None:
    """Eight frames, by heart: minutes of training on all of them are not for a test."""
    data, lessons = digit_boxes(train_limit=8).train(), Lessons(40, 4, 4e-3)
    network = train(small_detector(), PREPROCESS, lambda _: data, lessons, lambda *_: None, detector_loss)
    assert mean_average_precision(network, data) > 0.8
    assert mean_average_precision(small_detector().eval(), data) < 0.2
