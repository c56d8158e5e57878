"""A scene as one picture: each app's latency against its budget, its route's accuracy, and below them the board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from schedulerd.scenes.record import AppRecord, Reading, Turn, spans

APP_COLOURS: Final = ("#2b6cb0", "#2f855a", "#b7791f")
MISS_COLOUR: Final = "#c53030"
ACCURACY_COLOUR: Final = "#6b46c1"
BOARD_COLOURS: Final[Mapping[str, str]] = {
    "others on the CPU": "#c53030",
    "memory limit": "#2b6cb0",
    "memory in use": "#63b3ed",
}
PLAYED_COLOUR: Final = "#dd6b20"


def draw(
    records: Sequence[AppRecord],
    turns: Sequence[Turn],
    end_s: float,
    path: Path,
    readings: Sequence[Reading] = (),
) -> None:
    """Write the timeline as PNG (or whatever matplotlib makes of the ending), with a row for the board's readings."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    count = len(records) + bool(readings)
    figure, grid = plt.subplots(count, 1, figsize=(12, 2.7 * count), sharex=True, squeeze=False)
    rows = [axes for (axes,) in grid]
    begin_s = turns[0].at_s
    for axes in rows:
        _shade(axes, turns, begin_s, end_s)
    for axes, record, colour in zip(rows, records, cycle(APP_COLOURS), strict=False):
        _latency(axes, record, begin_s, colour)
        _accuracy(axes.twinx(), record, begin_s)
    if readings:
        _board(rows[-1], readings, begin_s)
    for turn, until_s in spans(turns, end_s):
        middle = (turn.at_s + until_s) / 2 - begin_s
        rows[0].annotate(
            turn.name,
            (middle, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=10,
        )
    rows[-1].set_xlabel("seconds")
    rows[-1].set_xlim(0, end_s - begin_s)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _board(axes: Any, readings: Sequence[Reading], begin_s: float) -> None:
    """Shares of the processor and of memory on the left, played temperatures on the right."""
    times = [r.at_s - begin_s for r in readings]
    for name, values in board_shares(readings).items():
        axes.plot(times, values, lw=1.4, color=BOARD_COLOURS.get(name, PLAYED_COLOUR), label=name)
    axes.set_ylim(0, None)
    axes.set_ylabel("board")
    axes.legend(loc="upper left", fontsize=8, ncols=4, framealpha=0.9)
    if "temperature" in readings[0].played:
        right = axes.twinx()
        right.plot(times, [r.played["temperature"] for r in readings], color=PLAYED_COLOUR, lw=1.4)
        right.set_ylabel("temperature, °C", color=PLAYED_COLOUR, fontsize=8)
        right.tick_params(axis="y", colors=PLAYED_COLOUR, labelsize=8)


def board_shares(readings: Sequence[Reading]) -> dict[str, list[float]]:
    """What the board's row shows, each as shares; memory is one of the most that blocks held. NaN where not known."""
    most_bytes = max((r.status.get("resident_bytes") or 0.0 for r in readings), default=0.0) or 1.0
    columns = {
        "others on the CPU": [_number(r.status.get("cpu_others")) for r in readings],
        "memory limit": [min(2.0, _number(r.status.get("memory_limit_bytes")) / most_bytes) for r in readings],
        "memory in use": [_number(r.status.get("resident_bytes")) / most_bytes for r in readings],
    }
    for what in ("clock", "stall"):
        if readings and what in readings[0].played:
            columns[what] = [r.played[what] for r in readings]
    return columns


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _shade(axes: Any, turns: Sequence[Turn], begin_s: float, end_s: float) -> None:
    for number, (turn, until_s) in enumerate(spans(turns, end_s)):
        if number % 2:
            axes.axvspan(turn.at_s - begin_s, until_s - begin_s, color="#edf2f7", zorder=0)


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
