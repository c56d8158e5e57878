"""A build that tells every step, to be killed at any of them in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from blockstore.build import pipeline
from blockstore.build.settings import BuildSettings
from blockstore.store import Store
from tests.blockstore.build import networks

SETTINGS = BuildSettings(
    name="tiny",
    input=networks.FRAMES,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    cuts=("4",),
    variants=("prune:0.5", "skip:1", "fp16", "prune:0.5+int8", "tucker2:0.5", "dpruner:0.25"),
    # Aligned widths are taken where they measure faster, which is another matter on every run.
    width_multiple=1,
    epochs=4,
    batch_size=8,
    validation_images=8,
    calibration_images=16,
    fit_routes=6,
    check_routes=4,
)


def build(folder: Path, tell: Callable[[str], None]) -> None:
    """Into the store of a folder, from what is left of the work there."""
    torch.set_num_threads(1)

    def told(stage: str, done: int, total: int, note: str = "") -> None:
        tell(f"{stage} {done} of {total} {note}")

    with Store.open(folder / "store", create=True) as opened:
        pipeline.build(networks.residual(), networks.Noise(), SETTINGS, opened, folder / "work", told)
