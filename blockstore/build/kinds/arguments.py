"""What kinds are told in a recipe: the texts between the commas of `prune:0.5,l2`, checked."""

from __future__ import annotations

from collections.abc import Sequence

from blockstore.errors import CannotBuild


def check_count(arguments: Sequence[str], least: int, most: int, form: str) -> None:
    """Refuse more or fewer arguments than `least` to `most`; `form` shows how the kind is written."""
    if not least <= len(arguments) <= most:
        raise CannotBuild(f"{len(arguments)} arguments are given, it is written {form}")


def share(text: str, meaning: str) -> float:
    """A number between 0 and 1, both excluded; `meaning` says of what it is the share."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1:
        raise CannotBuild(f"{meaning} is {text!r}: give a number between 0 and 1, such as 0.5")
    return value


def count(text: str, meaning: str) -> int:
    """A whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise CannotBuild(f"{meaning} is {text!r}: give a whole number, at least 1")
    return int(text)
