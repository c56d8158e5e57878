"""Timing: what an engine takes for each variant, and the model without the variants that this speaks against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from blockstore.accuracy_model import AccuracyModel
from blockstore.block import Block, Model, Variant
from blockstore.build import manifest
from blockstore.build.built import Latencies, Timed
from blockstore.build.dominance import Candidate, dominated
from blockstore.build.variants import Dropped

DISTURBED: Final = (
    "other programs were at work while variants were timed, and the latencies are not to be relied on: "
    "`schedulerd profile` times them again"
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model after timing."""

    model: Model
    latencies_ms: Latencies = ()
    """Of the variants that it still has; empty where they are not known."""
    left_out: tuple[Dropped, ...] = ()
    remarks: tuple[str, ...] = ()
    """What a reader of the latencies has to know."""


def choose(model: Model, known: AccuracyModel, timed: Timed) -> Chosen:
    """`model` without the variants that do not run or that another one beats in everything.

    `known` is what is known of its accuracy. Where an original has no time there is no route to compare with: all
    variants stay, without latencies, and a remark says why.
    """
    remarks = (DISTURBED,) if timed.disturbed else ()
    if any(_digest(block.variants[0]) not in timed.medians_ms for block in model.blocks):
        faults = "; ".join(timed.faults) or "an original has no time"
        return Chosen(model, remarks=(*remarks, f"latency could not be measured: {faults}"))
    fallen, beaten = [_failed(block, timed) for block in model.blocks], list[dict[str, str]]()
    for block, damages, gone in zip(model.blocks, known.damages, fallen, strict=True):
        standing = [
            _candidate(v, timed.medians_ms[_digest(v)], damage)
            for v, damage in zip(block.variants, damages, strict=True)
            if v.name not in gone
        ]
        beaten.append(dominated(standing))
        gone |= _beaten(standing, beaten[-1])
    kept = [
        [i for i, v in enumerate(block.variants) if v.name not in gone]
        for block, gone in zip(model.blocks, fallen, strict=True)
    ]
    model_kept = manifest.keeping(model, kept)
    times = tuple(tuple(timed.medians_ms[_digest(v)] for v in block.variants) for block in model_kept.blocks)
    left_out = tuple(
        Dropped(index, name, reason, by.get(name, ""))
        for index, (gone, by) in enumerate(zip(fallen, beaten, strict=True))
        for name, reason in gone.items()
    )
    return Chosen(model_kept, times, left_out, remarks)


def _beaten(standing: Sequence[Candidate], winners: Mapping[str, str]) -> dict[str, str]:
    """In words, of each that another beats, by what latency; size and accuracy may be equal."""
    latencies_ms = {candidate.name: candidate.latency_ms for candidate in standing}
    return {
        name: f"slower ({latencies_ms[name]:.3f} against {latencies_ms[winner]:.3f} ms), no smaller and"
        f" no more accurate than {winner}"
        for name, winner in winners.items()
    }


def _failed(block: Block, timed: Timed) -> dict[str, str]:
    """The variants of `block` without a time, and what happened to each."""
    return {
        v.name: next((f for f in timed.faults if f"block {block.index} variant {v.name} " in f), "it was not timed")
        for v in block.variants
        if _digest(v) not in timed.medians_ms
    }


def _candidate(variant: Variant, latency_ms: float, damage: float) -> Candidate:
    engines = frozenset(a.engine for a in variant.artifacts)
    return Candidate(variant.name, latency_ms, variant.artifacts[0].size_bytes, damage, engines)


def _digest(variant: Variant) -> str:
    """Of the ONNX form, which is what is timed; every variant has it, first."""
    return variant.artifacts[0].digest
