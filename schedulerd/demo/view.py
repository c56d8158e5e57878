"""What a person sees while the demo runs on a terminal: a live table, the story beneath it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from schedulerd.cells import route_in_short
from schedulerd.scenes.record import Sample, Turn, exit_rates, swaps
from schedulerd.serving.meter import percentile

RECENT = 60
"""Replies behind the measured columns."""


class LiveView:
    """A table that is drawn anew in place, the story beneath it."""

    look_s = 0.25

    def __init__(self, console: Console) -> None:
        self._story: list[Text] = []
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._live.start()

    def turn(self, turn: Turn) -> None:
        """Add to the story."""
        if not turn.answers:
            self._story.append(Text(f"{turn.name}: {turn.what}", style="bold"))
        self._story += [Text(f"  -> {answer}", style="cyan") for answer in turn.answers]

    def show(
        self, seen: Mapping[str, tuple[Sample, ...]], apps: Sequence[Mapping[str, Any]], status: Mapping[str, Any]
    ) -> None:
        """Draw."""
        self._live.update(Group(_table(seen, apps), _board(status), *self._story[-14:]))

    def close(self) -> None:
        """Leave the last table on the screen."""
        self._live.stop()


def _table(seen: Mapping[str, tuple[Sample, ...]], apps: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="schedulerd demo", title_justify="left", expand=False)
    for name in (
        "app",
        "route",
        "budget",
        "predicted p50/p95",
        "measured p50/p95",
        "accuracy",
        "leave at",
        "swaps",
        "late",
    ):
        table.add_column(name, justify="left" if name in ("app", "route") else "right", no_wrap=True)
    for app in apps:
        samples = seen.get(app["app"], ())
        recent = samples[-RECENT:]
        p50, p95 = (percentile([s.served_ms for s in recent], share) for share in (0.5, 0.95))
        labelled = [s.right for s in recent if s.right is not None]
        right = sum(labelled) / len(labelled) if labelled else None
        late = sum(not s.met for s in samples)
        table.add_row(
            f"{app['app']} ({app['model']})",
            route_in_short(app["route"]),
            f"{app['budget_ms']:g} ms",
            f"{_ms(app['latency_ms'])} / {_ms(app['latency_p95_ms'])}",
            Text(f"{_ms(p50)} / {_ms(p95)}", style="red" if p95 and p95 > app["budget_ms"] else "green"),
            "-" if right is None else f"{right:.1%}",
            exits_in_short(exit_rates(recent)),
            str(swaps(samples)),
            Text(str(late), style="red" if late else ""),
        )
    return table


def _board(status: Mapping[str, Any]) -> Text:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.0%}"

    resident, limit = status["resident_bytes"] / 1e6, status["memory_limit_bytes"] / 1e6
    return Text(
        f"plan {status['plan']}   blocks {resident:.1f} of {limit:.0f} MB   CPU others {share(status['cpu_others'])}   "
        f"slowdown {status['slowdown']:.2f}   requests {status['requests']}   refused {status['refused']}"
    )


def exits_in_short(rates: Mapping[str, float]) -> str:
    """Where frames left, as `exit1 55% final 45%`; `-` where all ran to the end."""
    return " ".join(f"{name} {share:.0%}" for name, share in rates.items()) or "-"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
