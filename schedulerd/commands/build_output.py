"""What `schedulerd build` prints: what came of a build, or where a network can be cut."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockstore.build.exits.expected import cost_share, policy_multiply_adds, shares_text
from schedulerd.commands.tables import RESTART_NOTE, table
from schedulerd.sizes import size_text

if TYPE_CHECKING:
    from blockstore.block import Exit, Model, Variant
    from blockstore.build.built import Built
    from blockstore.build.explain import Explanation
    from blockstore.exits import OfferedPolicy


def explained(explanation: Explanation) -> Iterator[str]:
    """Legal cuts, blocks, and what stands in the way of more."""
    yield f"{len(explanation.cuts)} legal cuts; --cuts takes their names"
    yield from table(("after", "what crosses"), [(cut.name, str(cut.tensor)) for cut in explanation.cuts])
    yield ""
    header = ("block", "name", "operators", "parameters", "multiply-adds", "ms", "output", "cut after")
    rows = [
        (
            str(row.index),
            row.name,
            ", ".join(f"{count} {name}" for name, count in row.operators.items()),
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            f"{row.latency_ms:.3f}",
            str(row.output),
            row.cut_after or "-",
        )
        for row in explanation.blocks
    ]
    yield from table(header, rows, numbers=("parameters", "multiply-adds", "ms"))
    if len(explanation.outputs) > 1:
        yield f"outputs: {', '.join(map(str, explanation.outputs))}"
    if len(explanation.blocks) > 1 and len(explanation.outputs) == 1:
        yield f"exits can stand after blocks 0 to {len(explanation.blocks) - 2} (--exits-after)"
    if explanation.obstacle:
        yield f"no more blocks: {explanation.obstacle}"


def document(built: Built, report: Path) -> dict[str, Any]:
    """The manifest, with every measured combination and its figures, and what else is known of the build."""
    model = built.model
    return {
        **json.loads(model.to_json()),
        "latencies_ms": built.latencies_ms,
        "policies_multiply_adds": {o.policy.name: policy_multiply_adds(model, o) for o in model.policies},
        "removed_exits": built.removed_exits,
        "left_out": [dataclasses.asdict(gone) for gone in built.left_out],
        "costs": [dataclasses.asdict(cost) for cost in built.costs],
        "obstacle": built.obstacle,
        "remarks": built.remarks,
        "report": str(report),
    }


def lines(built: Built, report: Path) -> Iterator[str]:
    """The variants of each block, how far predictions can be believed, and what was left out."""
    model = built.model
    header = ("block", "variant", "parameters", "multiply-adds", "ms", "accuracy drop", "size (ONNX)")
    rows = [
        (
            f"{block.index} {block.name}" if position == 0 else "",
            variant.name,
            f"{variant.parameters:,}",
            f"{variant.multiply_adds:,}",
            f"{built.latencies_ms[block.index][position]:.3f}" if built.latencies_ms else "-",
            f"{variant.accuracy_drop:.4f}",
            _size(variant),
        )
        for block in model.blocks
        for position, variant in enumerate(block.variants)
    ]
    yield f"{model.name}: accuracy {model.accuracy:.4f} on {model.evaluated_images} held-out images"
    yield from table(header, rows, numbers=header[2:])
    if built.accuracy.error is not None:
        yield (
            f"{built.combinations:,} combinations; their predicted accuracy is off by {built.accuracy.error:.4f} on"
            f" average over {model.provenance['routes_checked']} that were measured to check it"
        )
    yield from _exit_lines(built)
    yield from (f"block {gone.block} is without {gone.name}: {gone.reason}" for gone in built.left_out)
    if built.obstacle:
        yield f"no more blocks could be cut: {built.obstacle}"
    yield from (f"note: {remark}" for remark in built.remarks)
    yield f"report: {report}"
    yield RESTART_NOTE


def _exit_lines(built: Built) -> Iterator[str]:
    """The exits, those that do not pay, and what policies of them are expected to do."""
    model = built.model
    if model.exits:
        header = ("exit", "after block", "takes", "filters", "multiply-adds", "accuracy", "temperature", "own curves")
        rows = [_exit_cells(e) for e in model.exits]
        yield ""
        yield from table(header, rows, numbers=("after block", "multiply-adds", "accuracy", "temperature"))
    yield from (f"no exit after block {block}: it costs more than it saves" for block in built.removed_exits)
    if model.policies:
        policies = [_policy_cells(model, offered) for offered in model.policies]
        yield ""
        yield from table(_POLICY_HEADER, policies, numbers=_POLICY_HEADER[1:3])


_POLICY_HEADER = ("policy", "multiply-adds", "accuracy drop", "leave", "thresholds")


def _exit_cells(e: Exit) -> tuple[str, ...]:
    return (
        e.name,
        str(e.block),
        ", ".join(map(str, e.inputs)),
        str(e.settings.get("filters", "-")),
        f"{e.multiply_adds:,}",
        f"{e.settings['accuracy']:.4f}" if "accuracy" in e.settings else "-",
        f"{e.temperature:g}",
        ", ".join(e.curves.own()) or "-",
    )


def _policy_cells(model: Model, offered: OfferedPolicy) -> tuple[str, ...]:
    return (
        offered.policy.name,
        f"{cost_share(model, offered):.1%}",
        f"{offered.forecast.accuracy_drop:.4f}",
        shares_text(offered),
        str(offered.policy),
    )


def _size(variant: Variant) -> str:
    """Of the form that onnxruntime runs: not every variant has the other one."""
    artifact = variant.artifact("onnxruntime")
    return size_text(artifact.size_bytes) if artifact else "-"
