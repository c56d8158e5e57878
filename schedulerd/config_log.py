"""`[log]`: which events are written, how, and how many of one."""

from __future__ import annotations

from dataclasses import dataclass, field

from schedulerd.config_about import about
from schedulerd.kinds import Choice, Number, Whole
from schedulerd.log_levels import AUTO, LOG_LAYOUTS, LOG_LEVELS


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is written to standard error, or to the journal."""

    level: str = field(
        default="info",
        metadata=about(
            Choice(LOG_LEVELS),
            "Least severity that is written; `schedctl log-level` changes it for the time being.",
            live=True,
        ),
    )
    format: str = field(
        default=AUTO,
        metadata=about(
            Choice(LOG_LAYOUTS),
            "Entries of systemd's journal with a field for every key, JSON lines, or words; `auto` is words on a "
            "terminal, and the journal where systemd has connected it. Without a journal its entries are JSON lines.",
            live=True,
        ),
    )
    burst: int = field(
        default=20,
        metadata=about(
            Whole(1, 10_000),
            "Lines of one event that are written however fast they come.",
            live=True,
        ),
    )
    lines_per_s: float | None = field(
        default=1.0,
        metadata=about(
            Number(0.01, 1000.0, "off"),
            "And lines a second from then on; another line says how many were left out. Errors have ten times as much, "
            'and what is decided is always written. "off" leaves nothing out.',
            live=True,
        ),
    )
