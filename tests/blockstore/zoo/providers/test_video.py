"""Video frames: which are taken, how they are stretched, and what cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from blockstore.block import TensorSpec
from blockstore.build.images import held_out, training
from blockstore.errors import CannotBuild
from blockstore.zoo.datasets import video

av = pytest.importorskip("av", reason="reading videos needs PyAV: pip install av")


def write(path: Path, frames: int) -> None:
    """A video of 64x32 whose frame `i` is red 8 * i on the left half, and blue on the right."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 32, "yuv420p", 2_000_000
        for number in range(frames):
            picture = np.zeros((32, 64, 3), np.uint8)
            picture[:, :32, 0], picture[:, 32:, 2] = 8 * number, 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "one.mp4"
    write(file, 24)
    return file


def test_every_second_frame_is_taken_and_the_last_quarter_held_out(path: Path) -> None:
    data = video(str(path), every=2, size=48)
    assert data.train().images.shape == (9, 48, 48, 3)
    assert data.train().labels is None
    reds = data.train().images[:, 24, 12, 0].tolist() + data.held_out().images[:, 24, 12, 0].tolist()
    assert reds == pytest.approx([16 * i for i in range(12)], abs=12)


def test_frames_are_stretched_without_bars(path: Path) -> None:
    frame = video(str(path), size=48).train().images[1]
    assert frame[[0, -1], 30:, 2].min() > 150
    assert frame[:, 34:, 0].max() < 60


def test_channels_may_be_in_reverse(path: Path) -> None:
    rgb, bgr = (video(str(path), order=order, size=32).train().images for order in ("rgb", "bgr"))
    assert np.array_equal(rgb[..., ::-1], bgr)
    assert bgr.flags.c_contiguous


def test_a_folder_gives_the_frames_of_each_of_its_videos(path: Path) -> None:
    write(path.with_name("two.mp4"), 12)
    data = video(str(path.parent), every=3, size=32, limit=4)
    assert len(data.train()) == 3 + 3
    assert len(data.held_out()) == 1 + 1


def test_classes_are_those_of_a_file(path: Path) -> None:
    names = path.with_name("names.txt")
    names.write_text("person\ncar\n")
    assert video(str(path), names=str(names)).classes == ("person", "car")
    assert video(str(path)).classes == ()
    with pytest.raises(CannotBuild, match="cannot read the names"):
        video(str(path), names=str(path.with_name("other.txt")))


def test_a_video_that_is_missing_or_damaged_or_short_is_refused(path: Path) -> None:
    with pytest.raises(CannotBuild, match="neither a video nor a folder"):
        video(str(path.with_name("other.mp4")))
    with pytest.raises(CannotBuild, match=r"every=24 leaves 1 frames .* none of them from 75% to 100%"):
        video(str(path), every=24).held_out()
    path.write_bytes(b"no video")
    with pytest.raises(CannotBuild, match="cannot read the video"):
        video(str(path)).train()


def test_frames_behind_the_interval_are_in_neither_part(path: Path) -> None:
    data = video(str(path), every=1, size=32, held_out_from=25, held_out_to=50)
    reds = [part.images[:, 16, 8, 0].tolist() for part in (data.train(), data.held_out())]
    assert reds[0] == pytest.approx([8 * i for i in range(6)], abs=12)
    assert reds[1] == pytest.approx([8 * i for i in range(6, 12)], abs=12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "yuv"}, "rgb or bgr"),
        ({"every": 0}, "at least 1"),
        ({"held_out_from": 0}, "0 to 100%"),
        ({"held_out_from": 80, "held_out_to": 80}, "80 to 80%"),
        ({"held_out_to": 101}, "75 to 101%"),
    ],
)
def test_options_that_mean_nothing_are_refused(path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        video(str(path), **options)  # type: ignore[arg-type]  # wrong on purpose


def test_without_pyav_the_remedy_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(CannotBuild, match="pip install av"):
        video(str(path)).train()


@pytest.mark.shared
def test_the_shared_video_is_what_a_detector_takes(shared: Path) -> None:
    data = video(str(shared / "data" / "video" / "car-detection.mp4"), every=30, order="bgr", limit=4)
    expected = TensorSpec("uint8", (352, 352, 3))
    assert len(training(data, expected)) == 3
    assert held_out(data, expected).images.std() > 20
