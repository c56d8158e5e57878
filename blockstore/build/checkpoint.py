"""Work in progress of a build on disk, so that an interrupted build goes on at the epoch where it stopped."""

from __future__ import annotations

import os
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor


class Checkpoint:
    """One safetensors file in `folder`, named by what decides the result of the build."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / f"build-{key}.safetensors"

    def save(self, tensors: dict[str, Tensor], epoch: int) -> None:
        """Replace what was there: written beside it, then renamed."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".tmp")
        safetensors.torch.save_file(tensors, temporary, metadata={"epoch": str(epoch)})
        temporary.replace(self._path)

    def load(self) -> tuple[dict[str, Tensor], int] | None:
        """Tensors and the number of finished epochs; None where there is nothing, or nothing readable."""
        try:
            with safe_open(os.fspath(self._path), framework="pt") as file:
                epoch = int((file.metadata() or {})["epoch"])
                return {name: file.get_tensor(name) for name in file.keys()}, epoch  # noqa: SIM118  # not a mapping
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            return None

    def remove(self) -> None:
        """The build is in the store; nothing is left to go on from."""
        self._path.unlink(missing_ok=True)
