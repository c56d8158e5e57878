"""Values of the daemon's answers as printable text, and tables of them. Pure; absent values read `-`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from schedulerd.commands.tables import table
from schedulerd.sizes import size_text
from schedulerd.wire.messages import FINAL

Answer = Mapping[str, Any]
Column = tuple[str, Callable[[Answer], str]]
"""Heading, and the text of a row's cell."""

MISSING = "-"


def lined_up(columns: Sequence[Column], rows: Iterable[Answer]) -> str:
    """The first column and the last to the left, because they are words; the others to the right."""
    headings = [heading for heading, _ in columns]
    return "\n".join(table(headings, [[cell(row) for _, cell in columns] for row in rows], headings[1:-1]))


def text(row: Answer, key: str) -> str:
    """A value as it is."""
    return plain(row.get(key))


def number(row: Answer, key: str, digits: int = 1) -> str:
    """A number with a fixed count of decimals."""
    value = row.get(key)
    return f"{value:.{digits}f}" if isinstance(value, int | float) else MISSING


def time_limit(row: Answer, key: str) -> str:
    """Milliseconds that somebody asked for: with one decimal, or what it takes to tell them from nothing."""
    value = row.get(key)
    return f"{value:.2g}" if isinstance(value, int | float) and 0 < value < _SHORT_MS else number(row, key)


_SHORT_MS = 0.1


def share(row: Answer, key: str, digits: int = 0) -> str:
    """A fraction in per cent."""
    value = row.get(key)
    return f"{value:.{digits}%}" if isinstance(value, int | float) else MISSING


TOLD_SHARE = 0.001
"""Of a limit: less is only said to be there."""
_TENFOLD, _MUCH = 10.0, 0.1


def excess(row: Answer, key: str = "share") -> str:
    """Finer where there is little of it; where there is very much, how much does not matter."""
    value = row.get(key)
    if not isinstance(value, int | float):
        return MISSING
    if value > _TENFOLD:
        return "more than ten times"
    return f"{value:.0%}" if value >= _MUCH else f"{value:.1%}" if value >= TOLD_SHARE else "under 0.1%"


def size(row: Answer, key: str) -> str:
    """Bytes in decimal units, as `schedctl limit` takes them."""
    value = row.get(key)
    return size_text(int(value)) if isinstance(value, int | float) else MISSING


def plain(value: object) -> str:
    """Any value as printable text: names come from clients, and must not steer a terminal."""
    if value is None:
        return MISSING
    return "".join(c if c.isprintable() else "?" for c in str(value))


def listed(values: Iterable[object] | None) -> str:
    """Values with commas between them."""
    return ", ".join(map(plain, values or [])) or MISSING


def duration(row: Answer, key: str) -> str:
    """Seconds in the two units that say most."""
    seconds = row.get(key)
    if not isinstance(seconds, int | float):
        return MISSING
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def pair(row: Answer, first: str, second: str) -> str:
    """Two numbers that belong together."""
    return f"{number(row, first)} / {number(row, second)}"


def met(row: Answer) -> str:
    """Whether a budget is met, or by how much it is missed."""
    miss_ms = row.get("miss_ms")
    if miss_ms is None:
        return MISSING
    return f"late by {miss_ms:.1f} ms" if miss_ms > 0 else "in time"


def route(row: Answer) -> str:
    """The variant of each block."""
    return "|".join(map(plain, row.get("route") or [])) or MISSING


def route_in_short(route: Sequence[str]) -> str:
    """The original as `full`, `prune:0.5` and `prune-50` as `50`: six blocks fit into a narrow column."""
    return " ".join(map(_in_short, route)) or "-"


def _in_short(variant: str) -> str:
    if variant == "original":
        return "full"
    kind, _, amount = variant.replace(":", "-").rpartition("-")
    if not kind or not amount.replace(".", "", 1).isdecimal():
        return variant
    return f"{100 * float(amount):.0f}" if "." in amount else amount.lstrip("0") or variant


def policy(row: Answer) -> str:
    """Enabled exits with their thresholds and the share of frames expected to leave there, if known; `-` for none."""
    steps, shares = row.get("policy") or {}, row.get("exit_shares") or {}
    if len(steps) < 2 and set(steps) <= {FINAL}:
        return MISSING
    return ", ".join(
        f"{plain(name)}{f'>={threshold:g}' if threshold else ''}{f' {share(shares, name)}' if name in shares else ''}"
        for name, threshold in steps.items()
    )
