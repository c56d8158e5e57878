"""HiGHS as this machine has it: perhaps not at all, and never waited for without end, since it runs in this process."""

from __future__ import annotations

import importlib
from typing import Any, Final

from schedulerd.optimizer.watch import Watch


def _imported() -> Any:
    try:
        return importlib.import_module("highspy")
    except ImportError:
        return None


highspy: Final = _imported()
"""The module; None where it is not installed, or cannot be loaded."""

WATCH: Final = Watch("HiGHS")
"""One for all who call HiGHS: where it hangs for one of them it is not to be trusted by the others."""
