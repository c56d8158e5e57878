"""What `schedctl status` says of the board and of what it leaves to the apps, as labelled lines. Pure."""

from __future__ import annotations

from schedulerd.cells import Answer, listed, number, plain, share, size, text


def limits(answer: Answer) -> list[tuple[str, str]]:
    """What may be used, each with what sets it."""
    if answer.get("utilisation_limit") is None:
        return []
    power_w = answer.get("power_limit_w")
    power = "no limit" if power_w is None else f"{number(answer, 'power_limit_w', 2)} W"
    return [
        ("may use", f"{size(answer, 'memory_limit_bytes')}: {text(answer, 'memory_limit_reason')}"),
        ("", f"{share(answer, 'utilisation_limit')} of the lanes: {text(answer, 'utilisation_limit_reason')}"),
        *([("", f"{power}: {text(answer, 'power_limit_reason')}")] if power_w is not None else []),
    ]


def board(answer: Answer) -> list[tuple[str, str]]:
    """Heat, power and battery, where they can be read, and what cannot."""
    lines = []
    zones, stalls = answer.get("zones") or {}, answer.get("stalls") or {}
    if stalls:
        waits = ", ".join(f"{plain(name)} {share(stalls, name)}" for name in stalls)
        lines.append(("stalls", f"some work stood still for {waits} of the time"))
    if zones:
        name = max(zones, key=lambda zone: zones[zone])
        lines.append(
            ("heat", f"{number(zones, name)} C at the hottest of {len(zones)} ({plain(name)}){_clocks(answer)}")
        )
    if answer.get("board_power_w") is not None:
        lines.append(("power", f"{number(answer, 'board_power_w', 2)} W by the whole board"))
    if answer.get("battery") is not None:
        lines.append(("battery", f"{share(answer, 'battery')}{', discharging' if answer.get('discharging') else ''}"))
    unread = answer.get("unread") or {}
    return [*lines, *(("unread", f"{plain(source)}: {plain(why)}") for source, why in sorted(unread.items()))]


def _clocks(answer: Answer) -> str:
    """What holds the clocks down now, and how low they were ever seen for heat."""
    causes = answer.get("throttled")
    now = f", clocks held down for {listed(causes)}" if causes else ""
    learned = f"; they once fell to {share(answer, 'learned_clock_share')} for it"
    return now + (learned if answer.get("learned_clock_share") is not None else "")
