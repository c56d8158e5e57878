"""A folder that shows another one, but for what was written here: a board of which only some files are played.

Whatever is not written is a symbolic link into the real tree, so `/proc/stat` and `/proc/self` stay real. A written
file is replaced whole (rename(2)): who reads it meanwhile sees the old one or the new one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class Overlay:
    """One such folder."""

    def __init__(self, folder: Path, real: Path | None) -> None:
        """It shows `real`, or nothing but what is written where that is None."""
        self.folder = folder
        self._real = real
        self._scratch = folder.with_name(folder.name + ".new")
        self._own: set[Path] = set()
        """Folders that are made here, relative."""
        self._make(Path())

    def write(self, relative: str, text: str) -> None:
        """A file of the folder now holds `text`."""
        path = Path(relative)
        self._open(path.parent)
        self._scratch.write_text(text)
        self._scratch.replace(self.folder / path)

    def restore(self, relative: str) -> None:
        """A written file is the real one again; nothing where there is none."""
        path = Path(relative)
        with suppress(FileNotFoundError):
            (self.folder / path).unlink()
        self._link(path)

    def empty(self, relative: str) -> None:
        """A folder of the folder holds nothing real any more; before anything is written into it."""
        path = Path(relative)
        self._open(path.parent)
        self._take_away(path)
        (self.folder / path).mkdir()
        self._own.add(path)

    def _open(self, relative: Path) -> None:
        """The folder and those above it are made here, so that something can be written into them."""
        for folder in (*reversed(relative.parents), relative):
            if folder not in self._own:
                self._take_away(folder)
                self._make(folder)

    def _make(self, relative: Path) -> None:
        (self.folder / relative).mkdir()
        self._own.add(relative)
        for name in self._real_names(relative):
            self._link(relative / name)

    def _take_away(self, relative: Path) -> None:
        with suppress(FileNotFoundError):
            (self.folder / relative).unlink()

    def _link(self, relative: Path) -> None:
        if self._real is not None and os.path.lexists(self._real / relative):
            (self.folder / relative).symlink_to(self._real / relative)

    def _real_names(self, relative: Path) -> list[str]:
        """What the real folder holds, without other processes: those come and go."""
        if self._real is None or not (self._real / relative).is_dir():
            return []
        return [path.name for path in (self._real / relative).iterdir() if not path.name.isdigit()]
