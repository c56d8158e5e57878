"""What the profile's contention curves say of the present company, for as long as live timings say nothing. Pure."""

from __future__ import annotations

from blockprofiles.contention import Contention, Slowdown


def slowdown_by_company(
    contention: Contention, cpu_others: float | None, *, lanes: int, apps: int, utilisation: float
) -> Slowdown:
    """How much slower than on a quiet board blocks are expected to run.

    Args: contention: the profile's curves; cpu_others: share of all cores that other programs take, None where it
    cannot be read; lanes: there are; apps: that may keep one busy each; utilisation: of all lanes by the running plan.
    """
    foreign = contention.of_others(cpu_others) if cpu_others is not None else Slowdown()
    beside = max(0, min(lanes, apps) - 1)
    # A typical block has as many lanes beside it as are busy on average, one in twenty has all of them.
    usual = contention.of_lanes(1 + beside * min(1.0, utilisation))
    most = contention.of_lanes(1 + beside)
    return Slowdown(foreign.median * usual.median, foreign.p95 * most.p95)
