"""Names of classes from a text file, one on each line."""

from __future__ import annotations

from pathlib import Path

from blockstore.errors import CannotBuild


def read_names(path: Path, count: int = 0) -> tuple[str, ...]:
    """The lines of `path`; `CannotBuild` where it cannot be read, or there are not `count` of them (0: any number)."""
    try:
        names = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise CannotBuild(f"cannot read the names of the classes: {error}") from error
    if count and len(names) != count:
        raise CannotBuild(f"{path} names {len(names)} classes, the data set has {count}")
    return names
