"""What people type, in a file or at a prompt: sizes, durations and rates with their units, and words mistyped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from schedulerd.errors import ConfigError

_SIZE_UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_DURATION_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_RATE_UNITS = {"Hz": 1.0, "kHz": 1e3}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|[-+]?nan|[-+]?inf)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of a size such as `80MB` (10^6) or `80MiB` (2^20); ConfigError without a unit or not above 0."""
    return math.ceil(_quantity(text, "size", "80MB", _SIZE_UNITS))


def parse_duration_ms(text: str) -> float:
    """Milliseconds of a duration such as `25ms` or `0.5s`; ConfigError without a unit or not above 0."""
    return _quantity(text, "duration", "25ms", _DURATION_UNITS_MS)


def parse_rate_hz(text: str) -> float:
    """Frames a second of a rate such as `15Hz`; ConfigError without a unit or not above 0."""
    return _quantity(text, "rate", "15Hz", _RATE_UNITS)


def _quantity(text: str, what: str, example: str, units: Mapping[str, float]) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ConfigError(f"{what} {text!r} is not a number with a unit; write for example {example}")
    factor = {name.lower(): factor for name, factor in units.items()}.get(match[2].lower())
    if factor is None:
        raise ConfigError(f"{what} {text!r} needs one of the units {', '.join(units)}; write for example {example}")
    amount = float(match[1]) * factor
    if not math.isfinite(amount) or amount <= 0:
        raise ConfigError(f"{what} {text!r} must be finite and above 0; write for example {example}")
    return amount


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` for the known word nearest to `word`, or nothing."""
    import difflib  # seldom needed, and `schedctl` is to answer at once

    nearest = difflib.get_close_matches(word, tuple(known), n=1, cutoff=0.6)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""
