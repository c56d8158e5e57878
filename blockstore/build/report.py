"""The report of a build: Markdown with pictures, written beside the store.

It shows what a person would ask of a model before trusting a board to it: how much accuracy each latency costs, what
the task's other figures say of that, what every variant is, which variants were left out and why, and how far the
predictions can be believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blockstore.accuracy_model import Evidence, Route
from blockstore.block import Block, Variant
from blockstore.build.built import Built
from blockstore.build.front import best_within
from blockstore.build.report_exits import POLICIES_PICTURE, draw_policies, exit_lines
from blockstore.build.report_table import table

NAME: Final = "report.md"
ENGINE: Final = "onnxruntime"
SHARES: Final = (1.0, 0.8, 0.6, 0.5, 0.4)
"""Shares of the original's latency for which the report names the best combination."""


def write(built: Built, folder: Path) -> None:
    """`report.md` and its pictures in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if built.latencies_ms:
        _picture(built, _draw_front, folder / "latency.png")
    if any(e.checked for e in built.accuracy.evidence):
        _picture(built, _draw_predictions, folder / "predictions.png")
    if built.model.policies:
        _picture(built, draw_policies, folder / POLICIES_PICTURE)
    (folder / NAME).write_text("\n".join(lines(built)) + "\n", encoding="utf-8")


def lines(built: Built) -> Iterator[str]:
    """The text of `report.md`."""
    model = built.model
    yield f"# {model.name}"
    yield ""
    yield (
        f"{len(model.blocks)} blocks, {sum(len(b.variants) for b in model.blocks)} variants, {built.combinations:,}"
        f" combinations. Accuracy of the original: {model.accuracy:.2%} on {model.evaluated_images} held-out images"
        f" ({model.provenance.get('task', 'classification')})."
    )
    if built.obstacle:
        yield f"No more blocks could be cut: {built.obstacle}."
    yield from (f"Note: {remark}." for remark in built.remarks)
    yield from _front_lines(built)
    yield from _measured_lines(built)
    yield from _block_lines(built)
    yield from exit_lines(built)
    yield from _left_out_lines(built)
    yield from _prediction_lines(built)
    yield from _cost_lines(built)


def _front_lines(built: Built) -> Iterator[str]:
    yield from ("", "## Accuracy against latency", "")
    if not built.latencies_ms:
        yield "Latency was not measured in this build; `schedulerd profile` does that on the board."
        return
    front, whole = built.front(), built.latency_ms((0,) * len(built.model.blocks))
    yield "![measured combinations and the Pareto front](latency.png)"
    yield ""
    rows = []
    for share in SHARES:
        point = best_within(front, share * whole)
        if point is None:
            rows.append((f"{share:.0%}", "-", "-", f"the quickest takes {front[0].latency_ms / whole:.0%}"))
        else:
            accuracy = built.accuracy.predict(point.route)
            rows.append((f"{share:.0%}", f"{point.latency_ms:.3f}", f"{accuracy:.2%}", _names(built, point.route)))
    yield from table(("latency at most", "ms", "predicted accuracy", "variants, block by block"), rows)


def _measured_lines(built: Built) -> Iterator[str]:
    """What was measured of the original and of the best combination within each latency, with all figures."""
    shown = _best_measured(built)
    names = sorted({name for e in shown for name in e.figures})
    # One of them is what the task calls accuracy.
    main = next((n for n in names if all(e.figures.get(n) == e.accuracy for e in built.accuracy.evidence)), None)
    others = [name for name in names if name != main]
    yield from ("", "## Measured", "")
    header = ("ms", f"accuracy ({main})" if main else "accuracy", *others, "predicted", "variants, block by block")
    rows = [
        (
            f"{built.latency_ms(e.route):.3f}" if built.latencies_ms else "-",
            f"{e.accuracy:.2%}",
            *(f"{e.figures[name]:.4f}" if name in e.figures else "-" for name in others),
            f"{built.accuracy.predict(e.route):.2%}",
            _names(built, e.route),
        )
        for e in shown
    ]
    yield from table(header, rows)


def _best_measured(built: Built) -> list[Evidence]:
    """The original, then the most accurate of the measured combinations within each share of its latency."""
    original = (0,) * len(built.model.blocks)
    shown = {e.route: e for e in built.accuracy.evidence if e.route == original}
    for share in SHARES[1:] if built.latencies_ms else ():
        limit_ms = share * built.latency_ms(original)
        within = [e for e in built.accuracy.evidence if built.latency_ms(e.route) <= limit_ms]
        if within:
            best = max(within, key=lambda e: e.accuracy)
            shown[best.route] = best
    return list(shown.values())


def _names(built: Built, route: Route) -> str:
    """The variants of `route`."""
    return ", ".join(b.variants[v].name for b, v in zip(built.model.blocks, route, strict=True))


def _block_lines(built: Built) -> Iterator[str]:
    header = ("variant", "parameters", "multiply-adds", "kB", "ms", "accuracy drop", "made")
    for block, damages in zip(built.model.blocks, built.accuracy.damages, strict=True):
        yield from ("", f"## Block {block.index}: {block.name}", "", f"{block.input} to {block.output}", "")
        yield from table(header, [_variant_cells(built, block, v) for v in range(len(damages))])


def _variant_cells(built: Built, block: Block, position: int) -> tuple[str, ...]:
    variant = block.variants[position]
    artifact = variant.artifact(ENGINE)
    latency = f"{built.latencies_ms[block.index][position]:.3f}" if built.latencies_ms else "-"
    size = f"{artifact.size_bytes / 1000:.1f}" if artifact else "-"
    return (
        variant.name,
        f"{variant.parameters:,}",
        f"{variant.multiply_adds:,}",
        size,
        latency,
        f"{variant.accuracy_drop:.2%}",
        _made(variant),
    )


def _made(variant: Variant) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in variant.settings.items())


def _left_out_lines(built: Built) -> Iterator[str]:
    if built.left_out:
        yield from ("", "## Left out", "")
        for gone in built.left_out:
            yield f"- block {gone.block}, {gone.name}: {gone.reason}"


def _prediction_lines(built: Built) -> Iterator[str]:
    checked = [e for e in built.accuracy.evidence if e.checked]
    yield from ("", "## How far to believe the predictions", "")
    yield (
        f"The accuracy of any combination is predicted from {len(built.accuracy.evidence) - len(checked)} measured ones"
        f" (curve: {built.accuracy.kind})."
    )
    if built.accuracy.error is not None:
        yield (
            f"On {built.model.provenance['routes_checked']} combinations that the fit has not seen it is off by"
            f" {100 * built.accuracy.error:.2f} points on average."
        )
        if checked:
            yield from ("", "![predicted against measured](predictions.png)")
    elif len(built.accuracy.evidence) >= built.combinations:
        yield "Those are all that there are."
    else:
        yield "No other was measured to check the predictions: how far they are off is not known."


def _cost_lines(built: Built) -> Iterator[str]:
    yield from ("", "## What it took", "")
    yield from table(("stage", "s", "CPU s"), [(c.stage, f"{c.wall_s:.1f}", f"{c.cpu_s:.1f}") for c in built.costs])
    yield ""
    yield ", ".join(f"{key} {value}" for key, value in built.model.provenance.items())


def _picture(built: Built, draw: Any, path: Path) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    draw(axes, built)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    # No time in the file: the same build writes the same picture.
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _draw_front(axes: Axes, built: Built) -> None:
    evidence = built.accuracy.evidence
    measured = ([built.latency_ms(e.route) for e in evidence], [100 * e.accuracy for e in evidence])
    axes.scatter(*measured, s=14, alpha=0.6, color="tab:gray", label="combinations, accuracy measured")
    front = built.front()
    predicted = [100 * built.accuracy.predict(p.route) for p in front]
    axes.step(
        [p.latency_ms for p in front],
        predicted,
        where="post",
        color="tab:blue",
        label="Pareto front, accuracy predicted",
    )
    whole = built.latency_ms((0,) * len(built.model.blocks))
    axes.scatter([whole], [100 * built.model.accuracy], color="tab:red", zorder=3, label="original")
    axes.set_xlabel("latency in ms (one thread, blocks measured inside whole routes)")
    axes.set_ylabel("accuracy in %")


def _draw_predictions(axes: Axes, built: Built) -> None:
    for checked, label, colour in ((False, "fitted", "tab:gray"), (True, "not seen by the fit", "tab:blue")):
        shown = [e for e in built.accuracy.evidence if e.checked is checked]
        predicted = [100 * built.accuracy.predict(e.route) for e in shown]
        axes.scatter([100 * e.accuracy for e in shown], predicted, s=14, color=colour, label=label)
    ends = [100 * built.accuracy.floor, 100 * built.accuracy.original]
    axes.plot(ends, ends, color="tab:red", linewidth=1)
    axes.set_xlabel("accuracy measured in %")
    axes.set_ylabel("accuracy predicted in %")
