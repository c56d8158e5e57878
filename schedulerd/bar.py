"""A progress bar in plain text: redrawn in place on a terminal, one line elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

WIDTH = 30


class Bar:
    """Call it with the share that is done, 0 to 1. As a context manager it ends its line, whatever happens."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label = label
        self._stream = stream
        self._on_terminal = stream.isatty()
        self._state: tuple[int, str] | None = None
        """Percentage and time as they were drawn last."""
        self._drawn = 0
        """Length of the line on the terminal, which a shorter one has to cover."""

    def __enter__(self) -> Bar:
        return self

    def __call__(self, share: float, left_s: float | None = None) -> None:
        """Draw where something has changed; where the stream is no terminal, say once that work began.

        Args: share: that is done; left_s: seconds that the rest is expected to take, None where nobody can tell.
        """
        percent = round(100 * min(max(share, 0.0), 1.0))
        state = percent, _time_text(left_s)
        if state == self._state:
            return
        first, self._state = self._state is None, state
        if self._on_terminal:
            filled = WIDTH * percent // 100
            line = f"{self._label} [{'#' * filled}{'.' * (WIDTH - filled)}] {percent:3d}%{state[1]}"
            self._write(f"\r{line:{self._drawn}}")
            self._drawn = len(line)
        elif first:
            self._write(f"{self._label}\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._on_terminal and self._state is not None:
            self._write("\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _time_text(left_s: float | None) -> str:
    """`, 8 s left`, `, 3 min left`; minutes from two on."""
    if left_s is None:
        return ""
    return f", {left_s:.0f} s left" if left_s < 120 else f", {left_s / 60:.0f} min left"
