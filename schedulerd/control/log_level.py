"""Which events are logged, as an operator wants it for the time being."""

from __future__ import annotations

from typing import Any

import structlog

from schedulerd import logs
from schedulerd.errors import BadValue
from schedulerd.log_levels import LOG_LEVELS
from schedulerd.typed import did_you_mean

log = structlog.get_logger(__name__)


def log_level(level: str | None) -> dict[str, Any]:
    """Put a level in force, or with None none; the answer to `log_level`. Raises `BadValue`."""
    if level is not None:
        if level not in LOG_LEVELS:
            nearest = did_you_mean(level, LOG_LEVELS)
            raise BadValue(f"level is {level!r}; it must be one of {', '.join(LOG_LEVELS)}{nearest}")
        log.info("log_level", before=logs.level(), level=level)
        logs.set_level(level)
    return {"level": logs.level(), "choices": list(LOG_LEVELS)}
