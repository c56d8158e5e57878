"""Makes the demo's store from nothing: `python -m blockstore.zoo.demo_store --archive FILE --held-out FILE`.

Trains the three networks of `digit_networks` on digit scenes, builds a model of each, and writes one archive with all
of them and one file with the held-out digits, whose scenes the demo's clients stream.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from blockstore.block import Model, TensorSpec
from blockstore.build import pipeline
from blockstore.build.allocator import keep_freed_memory
from blockstore.build.built import Built
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.images import Labelled
from blockstore.build.progress import Progress, shown
from blockstore.build.settings import BuildSettings
from blockstore.store import Store
from blockstore.zoo import digit_networks, digit_scenes
from blockstore.zoo.datasets import Digits
from blockstore.zoo.preprocess import Preprocess
from blockstore.zoo.train import Lessons, train

NETWORKS: Final[dict[str, Callable[[], nn.Module]]] = {
    "digits-depthwise": digit_networks.depthwise,
    "digits-plain": digit_networks.plain,
    "digits-residual": digit_networks.residual,
}
BLOCKS: Final = {"digits-depthwise": 6, "digits-plain": 6, "digits-residual": 4}
VARIANTS: Final = {
    # Depthwise convolutions of fewer than 16 channels take longer than those of 16, the width of a vector.
    "digits-depthwise": ("prune:0.25", "prune:0.5", "prune:0.75"),
    # A quarter less costs dense convolutions nearly as much as all of them.
    "digits-plain": ("prune:0.5", "prune:0.75", "prune:0.875"),
    "digits-residual": ("prune:0.5", "prune:0.75", "prune:0.875"),
}
EXITS: Final = {
    # Digits are small and anywhere: what a head has found is the largest value over all places, as in the networks.
    "digits-plain": ExitSettings("mxn", pooling="maximum", epochs=4, batch_size=32),
}
LESSONS: Final = Lessons(epochs=12)
LESSON_SIZE: Final = 32
"""Training scenes are hardly larger than a digit: twenty times quicker, and as good where the head takes a maximum."""
SETTINGS: Final = BuildSettings(
    name="",
    input=TensorSpec("uint8", (digit_scenes.SIZE, digit_scenes.SIZE, 1)),
    mean=(0.5,),
    std=(0.25,),
    width_multiple=8,
    epochs=4,
    batch_size=8,
    learning_rate=2e-3,
)


def make(
    store: Store, name: str, data: Digits, lessons: Lessons, settings: BuildSettings, work: Path, progress: Progress
) -> Built:
    """Train the network called `name` on all scenes of `data`, build it with `settings` and put it in `store`."""

    def advance(done: int, total: int) -> None:
        progress(f"{name} train", done, total)

    preprocess = Preprocess(settings.mean, settings.std, settings.scale)
    network = train(NETWORKS[name](), preprocess, lambda e: data.scenes(e, LESSON_SIZE), lessons, advance)
    own = replace(settings, name=name, blocks=BLOCKS[name], variants=VARIANTS[name], exits=EXITS.get(name))
    return pipeline.build(network, _Small(data), own, store, work, _named(progress, name))


class _Small:
    """The data set with small training scenes."""

    classes = Digits.classes

    def __init__(self, data: Digits) -> None:
        self._data = data

    def train(self) -> Labelled:
        return self._data.scenes(LESSONS.epochs, LESSON_SIZE)

    def train_full(self) -> Labelled:
        """For exits, whose blocks take scenes of one size."""
        return self._data.scenes(LESSONS.epochs, digit_scenes.SIZE)

    def held_out(self) -> Labelled:
        return self._data.held_out()


def write_held_out(path: Path, data: Digits) -> None:
    """The held-out digits (uint8 `[n, 8, 8]`, 0 to 16) and their labels; scene `i` has the seed `i`."""
    np.savez_compressed(path, digits=data.held_out_digits, labels=data.held_out_labels.astype(np.uint8))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse `arguments`, make the store in a temporary folder, write the archive and the held-out digits."""
    parser = argparse.ArgumentParser(prog="python -m blockstore.zoo.demo_store", description=__doc__)
    parser.add_argument("--archive", type=Path, required=True, help="archive to write (.tar)")
    parser.add_argument("--held-out", type=Path, required=True, help="held-out digits to write (.npz)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--quick", action="store_true", help="a minute in all, for trying out: bad accuracy")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    data = Digits(80, 40) if options.quick else Digits()
    lessons = replace(LESSONS, epochs=1) if options.quick else LESSONS
    settings = replace(SETTINGS, threads=options.threads, epochs=1 if options.quick else SETTINGS.epochs)
    with (
        tempfile.TemporaryDirectory(prefix="demo-store-") as folder,
        shown() as progress,
        Store.open(Path(folder) / "store", create=True) as store,
    ):
        for name in NETWORKS:
            built = make(store, name, data, lessons, settings, Path(folder), progress)
            print(_summary(built.model, time.monotonic() - start), file=sys.stderr)
        store.export_archive(tuple(NETWORKS), options.archive)
    write_held_out(options.held_out, data)
    size_mb = options.archive.stat().st_size / 1e6
    print(f"{options.archive}: {size_mb:.2f} MB in {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 0


def _summary(model: Model, seconds: float) -> str:
    smallest = model.accuracy - sum(block.variants[-1].accuracy_drop for block in model.blocks)
    error = model.provenance["sum_of_drops_mae"]
    return (
        f"{model.name}: accuracy {model.accuracy:.3f}, smallest variants {smallest:.3f} (predicted; sums of drops are"
        f" off by {error:.3f} on average), {seconds:.0f} s so far"
    )


def _named(progress: Progress, name: str) -> Progress:
    return lambda stage, done, total, note="": progress(f"{name} {stage}", done, total, note)


if __name__ == "__main__":
    sys.exit(main())
