"""What the network interfaces carry: /proc/net/dev, as proc_pid_net(5) describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from schedulerd.clock import Clock
from schedulerd.control.readings import Interface
from schedulerd.control.sources.base import PROC, Readings, read_text
from schedulerd.control.sources.window import Window

_HEADINGS: Final = 2
_COLUMNS: Final = 16
_RECEIVED, _SENT = 0, 8
_LOOPBACK: Final = "lo"
_WRAP_BYTES: Final = 2**32
"""Where counters of 32-bit kernels start again; those of 64 bits never come to their end."""
_MOST_BPS: Final = 2.5e9
"""The quickest interface of boards with such kernels, and more; what a step back would mean beyond it is no traffic."""


class _Bytes(NamedTuple):
    """Counted since the interface came up."""

    received: int
    sent: int


class NetworkSource:
    """Rates of every interface but the loopback during the last second or so.

    One that came up since then has no rate yet, and one that went has none any more: neither is named.
    """

    name = "network"
    every_s = 0.0

    def __init__(self, clock: Clock, proc: Path = PROC) -> None:
        self._clock = clock
        self._path = proc / "net" / "dev"
        self._window: Window[dict[str, _Bytes]] = Window()

    def read(self) -> Readings:
        """`interfaces`; None at the first read. Raises ValueError where the file makes no sense."""
        now_s, now = self._clock.now_s(), _counts(read_text(self._path))
        before = self._window.before(now_s, now)
        if before is None or now_s <= before[0]:
            return {"interfaces": None}
        return {"interfaces": _rates(before[1], now, now_s - before[0])}


def _counts(text: str) -> dict[str, _Bytes]:
    lines = text.splitlines()
    if not lines or not lines[0].startswith("Inter-"):
        raise ValueError(f"first line is {lines[:1]}, expected the headings of /proc/net/dev")
    counts = dict(map(_of_line, lines[_HEADINGS:]))
    counts.pop(_LOOPBACK, None)
    return counts


def _of_line(line: str) -> tuple[str, _Bytes]:
    """Lines are `  eth0: 1500 12 ...`, eight columns of what was received and as many of what was sent, bytes first."""
    name, colon, rest = line.rpartition(":")
    columns = rest.split()
    if not colon or len(columns) != _COLUMNS or not all(map(str.isdecimal, columns)):
        raise ValueError(f"a line is {line[:60]!r}, expected an interface and its {_COLUMNS} counters")
    return name.strip(), _Bytes(int(columns[_RECEIVED]), int(columns[_SENT]))


def _rates(before: dict[str, _Bytes], now: dict[str, _Bytes], passed_s: float) -> tuple[Interface, ...]:
    return tuple(
        Interface(
            name,
            received_bps=_bps(before[name].received, count.received, passed_s),
            sent_bps=_bps(before[name].sent, count.sent, passed_s),
        )
        for name, count in now.items()
        if name in before
    )


def _bps(before: int, now: int, passed_s: float) -> float:
    """Bits a second.

    A counter that stepped back has wrapped, where the traffic that this means is possible at all; else the interface
    was made anew, and nobody knows.
    """
    if now >= before:
        return (now - before) * 8 / passed_s
    wrapped_bps = (now - before + _WRAP_BYTES) * 8 / passed_s
    return wrapped_bps if 0 <= wrapped_bps <= _MOST_BPS else 0.0
