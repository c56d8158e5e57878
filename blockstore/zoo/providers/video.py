"""Frames of videos as a data set without labels. Reading videos needs PyAV (`pip install av`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from blockstore.build.images import Labelled
from blockstore.errors import CannotBuild
from blockstore.zoo.providers.names import read_names

HELD_OUT_FROM: Final = 75
SUFFIX: Final = ".mp4"

Frames = npt.NDArray[np.uint8]
"""uint8 `[n, size, size, 3]`."""


@dataclass(frozen=True, slots=True)
class Video:
    """An interval of the frames of each video is held out, and those before it are for training. See `video`."""

    files: tuple[Path, ...]
    classes: tuple[str, ...]
    every: int
    size: int
    bgr: bool
    limit: int
    held_out_from: int
    held_out_to: int

    def train(self) -> Labelled:
        """The frames of each video before the held-out ones."""
        return self._parts(0, self.held_out_from)

    def held_out(self) -> Labelled:
        """The held-out frames of each video: neighbours look alike, so the parts are long pieces."""
        return self._parts(self.held_out_from, self.held_out_to)

    def _parts(self, first: int, last: int) -> Labelled:
        return Labelled(np.concatenate([self._part(file, first, last) for file in self.files]), None)

    def _part(self, file: Path, first: int, last: int) -> Frames:
        """The frames from `first` to `last` percent."""
        frames = self._frames(file)
        begin, end = (round(percent / 100 * len(frames)) for percent in (first, last))
        if begin == end:
            raise CannotBuild(
                f"every={self.every} leaves {len(frames)} frames of {file}, none of them from {first}% to {last}%: "
                "lower every, or widen the interval"
            )
        return frames[begin:end]

    def _frames(self, file: Path) -> Frames:
        chosen = list(islice(decoded(file, self.every, self.size), self.limit or None))
        frames = np.stack(chosen) if chosen else np.zeros((0, self.size, self.size, 3), np.uint8)
        return np.ascontiguousarray(frames[..., ::-1]) if self.bgr else frames


def video(
    path: str,
    every: int = 10,
    size: int = 352,
    order: str = "rgb",
    limit: int = 0,
    names: str = "",
    held_out_from: int = HELD_OUT_FROM,
    held_out_to: int = 100,
) -> Video:
    """Every `every`-th frame of the video `path`, or of each video in the folder `path`, without labels.

    Frames are stretched to `size` by `size` pixels, without bars; `order` is that of their channels, `rgb` or `bgr`.
    `limit` takes that many of them from each video (0: all). `names` is a text file with the names of the classes
    that a detector tells apart. Of each video the frames from `held_out_from` to `held_out_to` percent are held out:
    two builds, or a build and what checks it, can have frames of their own.
    """
    if order not in ("rgb", "bgr"):
        raise CannotBuild(f"order is {order!r}: rgb or bgr")
    if every < 1 or size < 1:
        raise CannotBuild(f"every is {every} and size is {size}: both must be at least 1")
    if not 0 < held_out_from < held_out_to <= 100:
        raise CannotBuild(f"held out are {held_out_from} to {held_out_to}%: both in order, above 0 and at most 100")
    classes = read_names(Path(names)) if names else ()
    return Video(_files(Path(path)), classes, every, size, order == "bgr", limit, held_out_from, held_out_to)


def decoded(file: Path, every: int, size: int) -> Iterator[Frames]:
    """Frames 0, `every`, 2 * `every`, ... of `file`, each uint8 `[size, size, 3]`, RGB."""
    # PyAV brings the libraries of FFmpeg with it, 100 MB: only who reads videos needs it.
    try:
        import av
    except ImportError as error:
        raise CannotBuild("reading videos needs PyAV: pip install av") from error
    try:
        with av.open(str(file)) as container:
            for frame in islice(container.decode(video=0), 0, None, every):
                stretched = frame.reformat(width=size, height=size, format="rgb24", interpolation="AREA")
                yield np.asarray(stretched.to_ndarray(), dtype=np.uint8)
    except (av.error.FFmpegError, IndexError) as error:
        raise CannotBuild(f"cannot read the video {file}: {error}") from error


def _files(path: Path) -> tuple[Path, ...]:
    files = tuple(sorted(path.glob(f"*{SUFFIX}"))) if path.is_dir() else (path,)
    if not files or not files[0].is_file():
        raise CannotBuild(f"{path} is neither a video nor a folder of {SUFFIX} files: give one as ?path=")
    return files
