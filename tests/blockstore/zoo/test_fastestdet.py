"""FastestDet's output becomes boxes, with the constants of its author."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from blockstore.errors import CannotBuild
from blockstore.zoo.boxes import CLASS, SCORE
from blockstore.zoo.fastestdet import boxes


def output(*found: tuple[int, int, float, float, int]) -> npt.NDArray[np.float32]:
    """An output that says (row, column, object, class score, class), each centred in its place, half the frame wide."""
    places = np.zeros((1, 85, 22, 22), np.float32)
    for row, column, certain, likely, label in found:
        places[0, 0, row, column] = certain
        places[0, 5 + label, row, column] = likely
    return places


def test_place_size_score_and_class_are_decoded() -> None:
    places = output((11, 5, 0.9, 0.8, 2))
    places[0, 1:5, 11, 5] = [0.5, -0.5, 0.0, -1.0]
    ((left, top, right, bottom, score, label),) = boxes(places)[0]
    assert (left + right) / 2 == pytest.approx((5 + np.tanh(0.5)) / 22)
    assert (top + bottom) / 2 == pytest.approx((11 - np.tanh(0.5)) / 22)
    assert (right - left, bottom - top) == pytest.approx((0.5, 1 / (1 + np.e)))
    assert score == pytest.approx(0.9**0.6 * 0.8**0.4)
    assert label == 2


def test_uncertain_places_give_no_box() -> None:
    assert boxes(output((3, 3, 0.6, 0.6, 0)))[0].shape == (0, 6)
    assert len(boxes(output((3, 3, 0.6, 0.6, 0)), min_score=0.5)[0]) == 1


def test_neighbouring_places_that_found_one_object_give_one_box() -> None:
    (found,) = boxes(output((8, 8, 0.9, 0.9, 1), (8, 9, 0.95, 0.95, 1), (8, 8, 0.9, 0.9, 1)))
    assert found[:, SCORE].tolist() == pytest.approx([0.95])


def test_each_image_of_a_batch_has_its_own_boxes() -> None:
    batch = np.concatenate([output(), output((2, 2, 0.9, 0.9, 7))])
    assert [b[:, CLASS].tolist() for b in boxes(batch)] == [[], [7.0]]


def test_the_output_of_another_network_is_refused() -> None:
    with pytest.raises(CannotBuild, match="FastestDet has one output"):
        boxes(np.zeros((1, 1000), np.float32))


@pytest.mark.shared
def test_the_model_finds_the_person_and_the_cars_of_the_videos(shared: Path) -> None:
    pytest.importorskip("av", reason="reading videos needs PyAV: pip install av")
    from blockstore.zoo.datasets import video

    model, names = shared / "models" / "fastestdet-coco.onnx", shared / "models" / "coco.names"
    session = ort.InferenceSession(model)

    def seen(name: str) -> set[str]:
        """Names of the classes that are found in four frames of a video."""
        path = str(shared / "data" / "video" / f"{name}.mp4")
        data = video(path, every=40, order="bgr", limit=5, names=str(names))
        frames = data.train().images.transpose(0, 3, 1, 2).astype(np.float32) / 255
        outputs = [session.run(None, {session.get_inputs()[0].name: frame[None]})[0] for frame in frames]
        return {data.classes[int(label)] for output in outputs for label in boxes(output)[0][:, CLASS]}

    assert "car" in seen("dashcam")
    assert "person" in seen("one-by-one-person-detection")
