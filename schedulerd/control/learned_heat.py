"""What a throttle teaches: how far the clocks fell, at which temperature, and what the board did all the same.

Kept in the state directory from one start to the next, in one small file that appears whole or not at all. A file that
makes no sense is as none: it will be learned again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog

from blockstore.durable import durable_file, make_folder
from blockstore.errors import BlockStoreError

FILE_NAME: Final = "heat.json"
"""In the state directory."""
MAX_FILE_BYTES: Final = 2**16
LEAST_RISE_C: Final = 5.0
"""A zone that has not risen by so much since the start is not what the clocks fell for."""
SURPASSED_C: Final = 2.0
"""A zone that gets hotter by so much, at full clocks, shows that they did not fall for that."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Learned:
    """How far the clocks fell for heat, and when."""

    clock_share: float | None = None
    """Lowest share of the wanted clocks that was seen; None where they never fell, or nobody could say how far."""
    sustained: float | None = None
    """Share of the lanes, at full clocks, that comes to what the board did when it was throttled last."""
    throttled_c: tuple[tuple[str, float], ...] = ()
    """By zone, the lowest temperature at which the clocks fell while it was the one that had risen most, unless it has
    got hotter since while they did not."""

    def trip_c(self, zone: str) -> float | None:
        """Where the clocks fell for this zone; None where they never did."""
        return dict(self.throttled_c).get(zone)


def after_throttle(
    before: Learned, zones: Iterable[tuple[str, float, float]], clock_share: float, used: float
) -> Learned:
    """What is known after the clocks were seen at `clock_share` of what was wanted, for heat.

    Args: before; zones: name, temperature, and the coolest since the start, as they were when the clocks began to fall;
    none later on, for firmware gives the clocks back only once a zone has cooled; clock_share: 1 where nobody can say;
    used: share of the lanes that was used when they began to fall.
    """
    known = dict(before.throttled_c)
    name, celsius, coolest_c = max(zones, key=lambda zone: zone[1] - zone[2], default=("", 0.0, 0.0))
    if celsius - coolest_c >= LEAST_RISE_C:
        known[name] = min(known.get(name, math.inf), round(celsius, 1))
    if clock_share >= 1.0:
        return Learned(before.clock_share, before.sustained, tuple(sorted(known.items())))
    lowest = min(clock_share, 1.0 if before.clock_share is None else before.clock_share)
    sustained = round(used * clock_share, 2) if used > 0 else before.sustained
    return Learned(round(lowest, 2), sustained, tuple(sorted(known.items())))


def after_full_clocks(before: Learned, zones: Iterable[tuple[str, float, float]]) -> Learned:
    """What is still known while nothing is throttled for heat; zones as for `after_throttle`.

    Or a zone that was merely the warmest one once would limit the board for good, however little it has to do with it.
    """
    if not before.throttled_c:
        return before
    now = {name: celsius for name, celsius, _ in zones}
    surpassed = {
        name: now[name] for name, fell_c in before.throttled_c if now.get(name, -math.inf) > fell_c + SURPASSED_C
    }
    known = {**dict(before.throttled_c), **{name: round(celsius, 1) for name, celsius in surpassed.items()}}
    return replace(before, throttled_c=tuple(sorted(known.items()))) if surpassed else before


class Memory:
    """The file. Never raises what a disk does: without it the next start learns again."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: the state directory; it is made when there is something to keep."""
        self._path = folder / FILE_NAME

    def load(self) -> Learned:
        """What was kept; nothing where there is no file, or one that makes no sense."""
        try:
            with self._path.open("rb") as file:
                return _learned(json.loads(file.read(MAX_FILE_BYTES)))
        except FileNotFoundError:
            return Learned()
        except (OSError, ValueError, RecursionError) as error:
            log.warning("heat_forgotten", file=str(self._path), reason=str(error), remedy="it is learned again")
            return Learned()

    def save(self, learned: Learned) -> None:
        """Keep this."""
        document = {
            "clock_share": learned.clock_share,
            "sustained": learned.sustained,
            "throttled_c": dict(learned.throttled_c),
        }
        try:
            make_folder(self._path.parent)
            with durable_file(self._path, self._path.parent, 0o640) as file:
                file.write(json.dumps(document).encode() + b"\n")
        except (OSError, BlockStoreError) as error:
            log.warning("heat_not_kept", file=str(self._path), reason=str(error), remedy="make room on the disk")


def _learned(document: Any) -> Learned:
    """ValueError where it is none."""
    if not isinstance(document, dict) or not isinstance(zones := document.get("throttled_c"), dict):
        raise ValueError("it is no object with `throttled_c`, an object")
    clock_share, sustained = (_number(document.get(key), key, 0.0, 1.0) for key in ("clock_share", "sustained"))
    temperatures = {name: _number(celsius, f"throttled_c.{name}", -273.15, 1000.0) for name, celsius in zones.items()}
    known = {name: celsius for name, celsius in temperatures.items() if celsius is not None}
    return Learned(clock_share, sustained, tuple(sorted(known.items())))


def _number(value: Any, name: str, least: float, most: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}; it must be a number from {least:g} to {most:g}")
    return float(value)
