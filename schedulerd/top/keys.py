"""Keys of a terminal, one at a time and without waiting for Enter (termios(3), console_codes(4))."""

from __future__ import annotations

import contextlib
import os
import select
import termios
import tty
from types import TracebackType
from typing import Any, Final, Self

NAMES: Final = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x03": "interrupt",
    b"\x04": "interrupt",
}
_MOST_BYTES: Final = 64
"""Read at once: what a person types between two looks, with room for a paste that is cut short."""


class Keys:
    """The keys of one terminal, which is as before afterwards."""

    def __init__(self, terminal: int) -> None:
        """Args: terminal: its file descriptor."""
        self._terminal = terminal
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._terminal)
        tty.setcbreak(self._terminal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None:
            return
        # A terminal that is gone wants nothing any more.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def read(self, timeout_s: float) -> tuple[str, ...]:
        """The keys that came within the time, by name or as they are; none where there were none.

        A terminal that is gone is as good as the key that interrupts.
        """
        ready, _, _ = select.select([self._terminal], [], [], max(0.0, timeout_s))
        if not ready:
            return ()
        try:
            typed = os.read(self._terminal, _MOST_BYTES)
        except OSError:
            typed = b""
        return named(typed) if typed else ("interrupt",)


def named(typed: bytes) -> tuple[str, ...]:
    """What was typed, key by key. Sequences that mean nothing here are left out."""
    keys: list[str] = []
    while typed:
        length = _sequence_bytes(typed)
        key, typed = typed[:length], typed[length:]
        if key in NAMES:
            keys.append(NAMES[key])
        elif len(key) == 1 and key.isascii() and chr(key[0]).isprintable():
            keys.append(key.decode())
    return tuple(keys)


def _sequence_bytes(typed: bytes) -> int:
    """Length of the first key: an escape sequence ends with the first letter or `~` after its second byte."""
    if typed[:1] != b"\x1b" or typed[1:2] not in (b"[", b"O"):
        return 1
    for place, byte in enumerate(typed[2:], 2):
        if 0x40 <= byte <= 0x7E:
            return place + 1
    return len(typed)
