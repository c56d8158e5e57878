"""Clocks that run below what was asked for, and limits that were set to them (Documentation/admin-guide/pm/cpufreq)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from schedulerd.control.sources.sysfs import number, numbered, optional_text

MOST: Final = 64
"""Policies and cores that are looked at: boards have fewer, and of a larger machine these tell as much as all."""

_MEASURE_WHAT_WAS_ASKED_FOR: Final = ("intel", "acpi", "amd", "pcc")
"""Drivers of x86, by how they begin, where `scaling_cur_freq` is what the hardware does and not what was requested."""


class Policy(NamedTuple):
    """The files of cores that share a clock; frequencies are in kHz."""

    limit: Path
    most: Path
    wanted: Path
    actual: Path | None
    """As the hardware counts it; None where nothing tells, or only to root."""


def policies(sys: Path) -> list[Policy]:
    """All policies, or the first of many; none where the kernel does not set clocks."""
    cpu = sys / "devices" / "system" / "cpu"
    return [_policy(folder) for _, folder in numbered(cpu / "cpufreq", "policy")[:MOST]]


def clock_share(policy: Policy) -> float | None:
    """The actual clock over the wanted one, at most 1; None where one of them is not known now.

    A core that idles has no actual one (EAGAIN).
    """
    if policy.actual is None:
        return None
    try:
        return share_of(number(policy.wanted), number(policy.actual), number(policy.wanted))
    except (OSError, ValueError):
        return None


def share_of(wanted: int, actual: int, wanted_then: int) -> float | None:
    """Of three reads in this order; None where the governor asked for another clock between them."""
    return min(1.0, actual / wanted) if wanted == wanted_then and wanted > 0 and actual > 0 else None


def is_limited(policy: Policy) -> bool:
    """Whether a limit below what the hardware can do is set, by a power mode for example; False where unknown."""
    try:
        # Some drivers round the two differently.
        return 0 < number(policy.limit) < 0.99 * number(policy.most)
    except (OSError, ValueError):
        return False


def _policy(folder: Path) -> Policy:
    driver = optional_text(folder / "scaling_driver") or ""
    told = () if driver.startswith(_MEASURE_WHAT_WAS_ASKED_FOR) else ("cpuinfo_avg_freq", "cpuinfo_cur_freq")
    return Policy(
        limit=folder / "scaling_max_freq",
        most=folder / "cpuinfo_max_freq",
        wanted=folder / "scaling_cur_freq",
        actual=next((folder / name for name in told if os.access(folder / name, os.R_OK)), None),
    )
