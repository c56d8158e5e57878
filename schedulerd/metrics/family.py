"""One row of the table of metrics: its name, what it means, and how it is read off a `View`. Knows no library.

Names and units are as Prometheus' practice has them (prometheus.io/docs/practices/naming): seconds, bytes and shares
from 0 to 1 (`_ratio`), the unit in the name, and `_total` at the end of what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from schedulerd.metrics.view import View
from schedulerd.serving.buckets import Buckets

Kind = Literal["counter", "gauge", "histogram"]
Value = float | Buckets | None
"""None is what could not be read: it is left out, never told as zero. Buckets hold milliseconds."""


class Sample(NamedTuple):
    """One value under its labels."""

    labels: tuple[str, ...]
    value: Value


class Family(NamedTuple):
    """All samples of one name."""

    name: str
    kind: Kind
    help: str
    read: Callable[[View], Iterable[Sample]]
    labels: tuple[str, ...] = ()


def one(name: str, kind: Kind, help_: str, read: Callable[[View], Value]) -> Family:
    """A family without labels, of one value."""
    return Family(name, kind, help_, lambda view: (Sample((), read(view)),))


def by_label(
    name: str, kind: Kind, help_: str, label: str, read: Callable[[View], Mapping[str, float] | None]
) -> Family:
    """A family of the values of a map, whose keys are the label; None where it could not be read."""
    return Family(name, kind, help_, lambda view: (Sample((k,), v) for k, v in (read(view) or {}).items()), (label,))


def seconds(time_ms: float | None) -> float | None:
    """Of milliseconds, None of None."""
    return None if time_ms is None else time_ms / 1e3
