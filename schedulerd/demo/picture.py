"""The story as one picture: for each app its latency against the budget, and the accuracy that its route promises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schedulerd.demo.record import AppRecord, Turn

APP_COLOURS = ("#2b6cb0", "#2f855a", "#b7791f")
MISS_COLOUR = "#c53030"
ACCURACY_COLOUR = "#6b46c1"


def draw(records: Sequence[AppRecord], turns: Sequence[Turn], end_s: float, path: Path) -> None:
    """Write the timeline as PNG (or whatever matplotlib makes of the ending)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, rows = plt.subplots(len(records), 1, figsize=(12, 2.7 * len(records)), sharex=True, squeeze=False)
    begin_s = turns[0].at_s
    for (axes,), record, colour in zip(rows, records, APP_COLOURS, strict=False):
        _shade(axes, turns, begin_s, end_s)
        _latency(axes, record, begin_s, colour)
        _accuracy(axes.twinx(), record, begin_s)
    for turn, until in zip(turns, [t.at_s for t in turns[1:]] + [end_s], strict=True):
        middle = (turn.at_s + until) / 2 - begin_s
        rows[0][0].annotate(
            turn.name,
            (middle, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=10,
        )
    rows[-1][0].set_xlabel("seconds")
    rows[-1][0].set_xlim(0, end_s - begin_s)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _shade(axes: Any, turns: Sequence[Turn], begin_s: float, end_s: float) -> None:
    ends = [t.at_s for t in turns[1:]] + [end_s]
    for number, (turn, until) in enumerate(zip(turns, ends, strict=True)):
        if number % 2:
            axes.axvspan(turn.at_s - begin_s, until - begin_s, color="#edf2f7", zorder=0)


def _latency(axes: Any, record: AppRecord, begin_s: float, colour: str) -> None:
    met = [s for s in record.samples if s.met]
    missed = [s for s in record.samples if not s.met]
    axes.plot([s.at_s - begin_s for s in met], [s.served_ms for s in met], ".", ms=3, color=colour, label="in time")
    axes.plot(
        [s.at_s - begin_s for s in missed],
        [s.served_ms for s in missed],
        "x",
        ms=4,
        color=MISS_COLOUR,
        label="late",
    )
    axes.step(
        [s.at_s - begin_s for s in record.samples],
        [s.budget_ms for s in record.samples],
        where="post",
        color="#1a202c",
        lw=1.4,
        label="budget",
    )
    top = max((s.budget_ms for s in record.samples), default=1.0)
    axes.set_ylim(0, 1.6 * top)
    axes.set_ylabel(f"{record.app}\nms")
    axes.legend(loc="upper left", fontsize=8, ncols=3, framealpha=0.9)


def _accuracy(axes: Any, record: AppRecord, begin_s: float) -> None:
    axes.step(
        [s.at_s - begin_s for s in record.samples],
        [100 * s.accuracy for s in record.samples],
        where="post",
        color=ACCURACY_COLOUR,
        lw=1.2,
        alpha=0.8,
    )
    axes.set_ylabel("predicted accuracy, %", color=ACCURACY_COLOUR, fontsize=8)
    axes.tick_params(axis="y", colors=ACCURACY_COLOUR, labelsize=8)
