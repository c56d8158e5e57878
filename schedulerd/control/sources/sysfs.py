"""Reading sysfs: one short value a file (Documentation/filesystems/sysfs), which may vanish or refuse at any look."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from schedulerd.control.sources.base import read_optional, read_text

T = TypeVar("T")
U = TypeVar("U")


def text(path: Path) -> str:
    """What the file says, without white space around it. Raises OSError, which names the file, or ValueError."""
    try:
        return read_text(path).strip()
    except OSError as error:  # of a failed read, Python does not say in which file
        raise OSError(error.errno, error.strerror, str(path)) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} holds bytes that are no text") from None


def number(path: Path, base: int = 10) -> int:
    """The number that the file says. Raises OSError, or ValueError where it says something else."""
    return _number(text(path), base, path)


def optional_text(path: Path) -> str | None:
    """As `text`, None where there is no such file."""
    found = read_optional(path)
    return None if found is None else found.strip()


def optional_number(path: Path) -> int | None:
    """As `number`, None where there is no such file."""
    found = optional_text(path)
    return None if found is None else _number(found, 10, path)


def numbered(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """Entries of the folder that are `prefix` and a number, by that number; none where there is no such folder."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names alone are wanted; a Path of each costs as much as reading it)
    except (FileNotFoundError, NotADirectoryError):
        return []
    ends = ((name, name.removeprefix(prefix)) for name in names if name.startswith(prefix))
    return sorted((int(end), folder / name) for name, end in ends if end.isascii() and end.isdigit())


def each(read: Callable[[T], U | None], items: Iterable[T]) -> tuple[U, ...]:
    """What `read` makes of those items that it can read; items of which it makes None are left out as well.

    Raises what it raised first (OSError, ValueError) where it could read none: then there is a reason to report.
    """
    made: list[U] = []
    failure: Exception | None = None
    for item in items:
        try:
            value = read(item)
        except (OSError, ValueError) as error:
            failure = failure or error
        else:
            if value is not None:
                made.append(value)
    if failure is not None and not made:
        raise failure
    return tuple(made)


def _number(word: str, base: int, path: Path) -> int:
    try:
        return int(word, base)
    except ValueError:
        raise ValueError(f"{path} says {word[:40]!r}, expected a number to base {base}") from None
