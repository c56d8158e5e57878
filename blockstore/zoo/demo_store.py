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

from blockstore.block import TensorSpec
from blockstore.build import pipeline
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
BLOCKS: Final = {"digits-depthwise": 5, "digits-plain": 5, "digits-residual": 4}
SETTINGS: Final = BuildSettings(
    name="",
    input=TensorSpec("uint8", (digit_scenes.SIZE, digit_scenes.SIZE, 1)),
    mean=(0.5,),
    std=(0.25,),
    width_multiple=8,
    epochs=2,
    # Tensors of larger batches outgrow the allocator's pools at this resolution, and everything takes twice as long.
    batch_size=8,
    learning_rate=2e-3,
)


def make(
    store: Store,
    names: Sequence[str],
    data: Digits,
    lessons: Lessons,
    settings: BuildSettings,
    work: Path,
    progress: Progress,
) -> None:
    """Train and build the networks called `names` and put them in `store`."""
    for name in names:
        preprocess = Preprocess(settings.mean, settings.std, settings.scale)
        network = train(NETWORKS[name](), preprocess, data.train(), lessons, _stage(progress, f"{name} train"))
        own = replace(settings, name=name, blocks=BLOCKS[name])
        pipeline.build(network, data, own, store, work, _named(progress, name))


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
    torch.set_num_threads(options.threads)
    data = Digits(limit=40 if options.quick else 0)
    lessons = Lessons(((4, 1),)) if options.quick else Lessons()
    settings = replace(SETTINGS, threads=options.threads, epochs=1 if options.quick else SETTINGS.epochs)
    with (
        tempfile.TemporaryDirectory(prefix="demo-store-") as folder,
        shown() as progress,
        Store.open(Path(folder) / "store", create=True) as store,
    ):
        make(store, tuple(NETWORKS), data, lessons, settings, Path(folder), progress)
        store.export_archive(tuple(NETWORKS), options.archive)
    write_held_out(options.held_out, data)
    size_mb = options.archive.stat().st_size / 1e6
    print(f"{options.archive}: {size_mb:.2f} MB in {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 0


def _named(progress: Progress, name: str) -> Progress:
    return lambda stage, done, total, note="": progress(f"{name} {stage}", done, total, note)


def _stage(progress: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(stage, done, total)


if __name__ == "__main__":
    sys.exit(main())
