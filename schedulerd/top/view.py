"""One screen: the daemon, its board, an app a line with its latency against its budget, and what keys do. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from blockstore.exits import FINAL
from schedulerd import cells, present_board
from schedulerd.commands.tables import count_text
from schedulerd.top.controls import Controls
from schedulerd.top.grid import Cell, Column, Grid, Row
from schedulerd.top.looks import Answer, History, Look, sparkline

KEYS = "up, down: app   left, right: budget 10% shorter, longer   b: type a budget   q: leave"
_MEDIUM, _WIDE = 100, 140
"""Columns from which counts and routes are shown, and from which models and all bars are too."""
_FEW_BARS = 12
_LATE, _CLOSE, _FINE = "red", "yellow", "green"
_CLOSE_SHARE = 0.9
"""Of the budget: what takes longer is close to it."""


def screen(look: Look, history: History, controls: Controls, width: int) -> RenderableType:
    """What is drawn for a look on a terminal of so many columns."""
    parts: list[RenderableType] = [_head(look), *_board(look), _apps(look, history, controls, width)]
    if look.plan.get("sentence"):
        parts.append(Text(f"plan {cells.text(look.plan, 'number')}: {cells.text(look.plan, 'sentence')}", style="dim"))
    if controls.said:
        parts.append(Text(cells.plain(controls.said), style="bold"))
    return Group(*parts, _foot(controls))


def absent(reason: str) -> RenderableType:
    """While the daemon does not answer."""
    return Group(Text(cells.plain(reason), style=_LATE), Text("asking again; q: leave", style="dim"))


# The daemon and its board.


def _head(look: Look) -> Text:
    status = look.status
    return Text(
        f"schedulerd {cells.text(status, 'version')}, up {cells.duration(status, 'uptime_s')}: "
        f"{count_text(len(look.apps), 'app')}, {cells.text(status, 'requests')} requests, "
        f"{cells.text(status, 'misses')} late, {cells.text(status, 'refused')} refused, "
        f"{cells.text(status, 'swaps')} route changes; best is {cells.text(look.plan, 'objective')}",
        style="bold",
    )


def _board(look: Look) -> Iterator[Text]:
    status = look.status
    yield Text(
        f"lanes {cells.share(look.plan, 'utilisation')} of {cells.share(status, 'utilisation_limit')}   "
        f"blocks {cells.size(status, 'resident_bytes')} of {cells.size(status, 'memory_limit_bytes')}   "
        f"processor {cells.share(status, 'cpu_busy')}, others {cells.share(status, 'cpu_others')}   "
        f"blocks take {cells.number(status, 'slowdown', 2)} times their profile   "
        f"daemon {cells.size(status, 'rss_bytes')}, free {cells.size(status, 'memory_available_bytes')}"
    )
    said = "   ".join(f"{label} {line}" for label, line in present_board.board(status) if label != "unread")
    if said:
        yield Text(said, style=_LATE if status.get("throttled") else "")
    binding = look.plan.get("binding")
    if binding:
        yield Text(f"binding: {cells.listed(binding)}", style=_CLOSE)


# Apps.


def _apps(look: Look, history: History, controls: Controls, width: int) -> RenderableType:
    if not look.apps:
        return Text("no apps; a client joins with register()")
    medium, wide = width >= _MEDIUM, width >= _WIDE
    columns = [
        *(Column(heading) for heading in ("", "APP", *(("MODEL",) if wide else ()))),
        *(Column(heading, right=True) for heading in ("BUDGET ms", "p50 / p95 ms")),
        Column("p95 / BUDGET"),
        *(Column(heading, right=True) for heading in ("ACCURACY", "LATE")),
        *(Column(heading, right=True) for heading in (("LEFT EARLY", "REFUSED", "SWAPS") if medium else ())),
        *((Column("ROUTE"),) if medium else ()),
    ]
    rows = []
    for app in look.apps:
        chosen = str(app.get("app")) == controls.chosen
        rows.append(Row(_row(app, history, chosen=chosen, width=width), "bold" if chosen else ""))
    return Grid(columns, rows)


def _row(app: Answer, history: History, *, chosen: bool, width: int) -> list[Cell]:
    medium, wide = width >= _MEDIUM, width >= _WIDE
    ratios = history.ratios.get(str(app.get("app")), ())
    bars = ratios if wide else ratios[-_FEW_BARS:]
    early = [_left_early(app), _refused(app), cells.text(app, "swaps"), _route(app)] if medium else []
    return [
        *map(Cell, (">" if chosen else " ", cells.text(app, "app"), *((cells.text(app, "model"),) if wide else ()))),
        Cell(cells.time_limit(app, "budget_ms")),
        Cell(cells.pair(app, "measured_p50_ms", "measured_p95_ms"), _colour(ratios[-1] if ratios else None)),
        Cell(sparkline(bars), _colour(max((r for r in bars if r is not None), default=None))),
        *map(Cell, (cells.share(app, "accuracy", 1), cells.text(app, "misses"), *early)),
    ]


def _route(app: Answer) -> str:
    if app.get("drained"):
        return "drained"
    return cells.plain(cells.route_in_short([str(variant) for variant in app.get("route") or []]))


def _refused(app: Answer) -> str:
    refused = app.get("refused")
    return cells.plain(sum(refused.values()) if isinstance(refused, dict) else refused)


def _left_early(app: Answer) -> str:
    rates = app.get("exit_rates")
    return cells.MISSING if not rates else f"{1.0 - rates.get(FINAL, 0.0):.0%}"


def _colour(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return _LATE if ratio > 1 else _CLOSE if ratio > _CLOSE_SHARE else _FINE


def _foot(controls: Controls) -> Text:
    if controls.typed is None:
        return Text(KEYS, style="dim")
    chosen = cells.plain(controls.chosen)
    return Text(f"budget of {chosen} in ms, then Enter (Escape leaves it): {controls.typed}_", style="bold")
