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
        self._percent: int | None = None

    def __enter__(self) -> Bar:
        return self

    def __call__(self, share: float) -> None:
        """Draw where the percentage has changed; where the stream is no terminal, say once that work began."""
        percent = round(100 * min(max(share, 0.0), 1.0))
        if percent == self._percent:
            return
        first, self._percent = self._percent is None, percent
        if self._on_terminal:
            filled = WIDTH * percent // 100
            self._write(f"\r{self._label} [{'#' * filled}{'.' * (WIDTH - filled)}] {percent:3d}%")
        elif first:
            self._write(f"{self._label}\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._on_terminal and self._percent is not None:
            self._write("\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
