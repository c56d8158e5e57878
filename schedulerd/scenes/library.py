"""The scenes that ship with the package, and finding one by its name or its file."""

from __future__ import annotations

from pathlib import Path

from schedulerd.scenes.read import SceneError, load
from schedulerd.scenes.script import Scene
from schedulerd.typed import did_you_mean

FOLDER = Path(__file__).with_name("library")


def names() -> tuple[str, ...]:
    """Of the shipped scenes."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def find(name_or_file: str) -> Scene:
    """A shipped scene by its name, or the scene of a file; raises `SceneError`."""
    if name_or_file in names():
        return load(FOLDER / f"{name_or_file}.toml")
    path = Path(name_or_file)
    if not path.exists():
        hint = did_you_mean(name_or_file, names())
        shipped = ", ".join(names())
        raise SceneError(
            f"{name_or_file}: there is no such file, nor a scene of that name{hint}; shipped are {shipped}"
        )
    return load(path)
