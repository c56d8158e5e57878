"""What the report of a build says of exits: the heads, where none pays, and what each policy costs and spares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from matplotlib.axes import Axes

from blockstore.block import Exit
from blockstore.build.built import Built
from blockstore.build.exits.expected import cost_share, shares_text
from blockstore.build.report_table import table
from blockstore.exits import FINAL

POLICIES_PICTURE: Final = "policies.png"


def exit_lines(built: Built) -> Iterator[str]:
    """The section; nothing where no exit was tried."""
    model = built.model
    if not model.exits and not built.removed_exits:
        return
    yield from ("", "## Exits", "")
    if built.removed_exits:
        yield (
            f"Tried after block{'s' * (len(built.removed_exits) > 1)} {', '.join(map(str, built.removed_exits))} and"
            " removed: there an exit costs more than it saves."
        )
        yield ""
    if not model.exits:
        yield "No exit pays: the model has none."
        return
    header = ("exit", "after block", "takes blocks", "filters", "multiply-adds", "accuracy alone", "confidence")
    yield from table((*header, "temperature", "own curves behind"), [_exit_cells(e) for e in model.exits])
    if model.policies:
        yield from _policy_lines(built)


def _exit_cells(e: Exit) -> tuple[str, ...]:
    return (
        f"{e.name} ({e.method})",
        str(e.block),
        ", ".join(map(str, e.inputs)),
        str(e.settings.get("filters", "-")),
        f"{e.multiply_adds:,}",
        f"{e.settings['accuracy']:.2%}" if "accuracy" in e.settings else "-",
        e.measure,
        f"{e.temperature:g}",
        ", ".join(e.curves.own()) or "-",
    )


def _policy_lines(built: Built) -> Iterator[str]:
    """Measured on images that no threshold was searched on, along the original blocks."""
    model = built.model
    yield from ("", f"![cost against accuracy of the policies]({POLICIES_PICTURE})", "")
    header = ("policy", "multiply-adds", "accuracy drop", "frames leave", "thresholds")
    rows = [
        (
            o.policy.name,
            f"{cost_share(model, o):.1%}",
            f"{o.forecast.accuracy_drop:.2%}",
            shares_text(o),
            str(o.policy),
        )
        for o in model.policies
    ]
    yield from table(header, rows)


def draw_policies(axes: Axes, built: Built) -> None:
    """Each policy as a point, those that cap the depth apart, and the network without exits."""
    model = built.model
    for capped, label, colour in ((False, "to the end", "tab:blue"), (True, "depth capped", "tab:gray")):
        shown = [o for o in model.policies if (o.policy.last != FINAL) is capped]
        costs = [100 * cost_share(model, o) for o in shown]
        axes.scatter(costs, [100 * o.forecast.accuracy_drop for o in shown], s=20, color=colour, label=label)
    axes.scatter([100], [0], color="tab:red", label="without exits")
    axes.invert_yaxis()
    axes.set_xlabel("multiply-adds in % of the whole network")
    axes.set_ylabel("accuracy drop in points")
