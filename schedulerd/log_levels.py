"""What can be asked of the log: how severe an event has to be, the least first, and how it is written."""

from __future__ import annotations

from typing import Final

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
AUTO, JOURNAL, JSON, CONSOLE = "auto", "journal", "json", "console"
LOG_LAYOUTS: Final = (AUTO, JOURNAL, JSON, CONSOLE)
