"""Taught heads become the exits of a manifest: calibrated, planned, written, and joined to policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from blockstore.block import ORIGINAL, Artifact, Exit
from blockstore.build.exits import confidence as measures
from blockstore.build.exits.curves import curves
from blockstore.build.exits.forms import head_forms, multiply_adds
from blockstore.build.exits.insertion import Costs, insertion_plan
from blockstore.build.exits.learning import Learner
from blockstore.build.exits.material import Judge, Look, tempered
from blockstore.build.exits.offers import offers, searched
from blockstore.build.exits.policies import by_precision
from blockstore.build.exits.school import School
from blockstore.build.exits.seen import Seen
from blockstore.build.manifest import Sink
from blockstore.exits import OfferedPolicy

_SAMPLES: Final = 8
"""Frames on which the forms of a head are compared."""


@dataclass(frozen=True, slots=True)
class Attached:
    """Exits as a manifest has them."""

    exits: tuple[Exit, ...] = ()
    policies: tuple[OfferedPolicy, ...] = ()
    removed: tuple[int, ...] = ()
    """Blocks after which an exit was tried that the insertion plan removed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """Heads that have been looked at on the validation images."""

    learners: Sequence[Learner]
    temperatures: Sequence[float]
    own: Seen
    """Along originals. Policies are searched on this alone: behind damaged variants an exit can beat the network's own
    end, and what it gains there would pay for errors behind the originals."""
    by_upstream: Mapping[str, Seen]
    """Name of a variant -> along the route that has it everywhere."""
    costs: Costs
    """In multiply-adds of the original blocks."""

    def of(self, numbers: Sequence[int]) -> _Judged:
        """The same for some of the heads."""
        costs = Costs(
            (*(self.costs.upto[i] for i in numbers), self.costs.whole), tuple(self.costs.heads[i] for i in numbers)
        )
        return _Judged(
            [self.learners[i] for i in numbers],
            [self.temperatures[i] for i in numbers],
            self.own.of(numbers),
            {kind: seen.of(numbers) for kind, seen in self.by_upstream.items()},
            costs,
        )


def finish(school: School, learners: Sequence[Learner], store: Sink) -> Attached:
    """The exits that pay, their blobs in `store`, and what policies of them do. Raises `CannotBuild`."""
    settings = school.settings
    measure, confidence = measures.resolve(settings.measure, school.subject.task)
    judged = _judge(school, learners, measure, confidence)
    planned = range(len(learners)) if settings.method == "branchynet" else _plan(judged, settings.precision)
    kept = judged.of(planned)
    exits = tuple(_exit(school, kept, position, measure, confidence, store) for position in range(len(kept.learners)))
    removed = tuple(learners[i].block for i in range(len(learners)) if i not in planned)
    if not exits:
        return Attached(removed=removed)
    unseen = _unseen(school, kept, confidence)
    policies = offers(
        list(searched(kept.own, kept.costs, settings.precision)), [e.name for e in exits], unseen, kept.costs
    )
    return Attached(exits, policies, removed)


def _judge(school: School, learners: Sequence[Learner], measure: str, confidence: measures.Confidence) -> _Judged:
    variants, validation = school.variants, school.subject.validation
    own = school.look(learners, validation, variants.original)
    drawn = [school.look(learners, validation, None)] if variants.kinds() else []
    # Calibrated behind variants as well, which the heads have learnt behind.
    temperatures = _temperatures(school.judge, [own, *drawn], measure)
    sure = [tempered(confidence, temperature) for temperature in temperatures]
    uniform = {kind: school.look(learners, validation, variants.uniform(kind)) for kind in variants.kinds()}
    return _Judged(
        learners,
        temperatures,
        own.seen(school.judge.worth, sure),
        {kind: look.seen(school.judge.worth, sure) for kind, look in uniform.items()},
        costs_of(school, learners),
    )


def _temperatures(judge: Judge, looks: Sequence[Look], measure: str) -> list[float]:
    """Of each head; a confidence of the user's own is not made of probabilities, and is left as it is."""
    heads = range(len(looks[0].logits))
    if measure == measures.CUSTOM:
        return [1.0 for _ in heads]
    return [judge.temperature([look.logits[head] for look in looks]) for head in heads]


def costs_of(school: School, learners: Sequence[Learner]) -> Costs:
    """Multiply-adds of the original blocks up to each head, and of the heads."""
    originals = [f.multiply_adds for f in school.subject.finished if f.name == ORIGINAL]
    upto = [float(sum(originals[: learner.block + 1])) for learner in learners]
    taken = [float(multiply_adds(learner.head, school.subject.specs(learner.inputs))) for learner in learners]
    return Costs((*upto, float(sum(originals))), tuple(taken))


def _plan(judged: _Judged, precision: float) -> tuple[int, ...]:
    """FlexDNN's insertion plan, at the thresholds that keep the wanted precision."""
    thresholds = torch.tensor(by_precision(judged.own, precision), dtype=torch.float64).numpy()
    return insertion_plan(judged.own.confidence >= thresholds[:, None], judged.costs)


def _exit(
    school: School,
    kept: _Judged,
    position: int,
    measure: str,
    confidence: measures.Confidence,
    store: Sink,
) -> Exit:
    learner, temperature = kept.learners[position], kept.temperatures[position]
    specs = school.subject.specs(learner.inputs)
    forms = head_forms(learner.head, specs, confidence, temperature, _samples(school, learner))
    written = [("onnxruntime", forms.onnx), *([("torch", forms.torch)] if forms.torch is not None else [])]
    return Exit(
        name=f"exit{position + 1}",
        block=learner.block,
        inputs=learner.inputs,
        method=school.settings.method,
        measure=measure,
        temperature=temperature,
        artifacts=tuple(Artifact(engine, store.put_blob(data), len(data)) for engine, data in written),
        parameters=forms.parameters,
        multiply_adds=forms.multiply_adds,
        curves=curves(kept.own, kept.by_upstream, position),
        settings={
            "filters": "-".join(map(str, learner.head.design.filters)) or "none",
            "accuracy": round(float(kept.own.worth[position].mean()), 4),
        },
    )


def _samples(school: School, learner: Learner) -> list[Tensor]:
    """What the head takes for some frames."""
    frames = school.subject.validation.images[:_SAMPLES]
    found = school.variants.walk(school.variants.original, frames, learner.inputs)
    return [torch.from_numpy(found[block]) for block in learner.inputs]


def _unseen(school: School, kept: _Judged, confidence: measures.Confidence) -> Seen:
    """What the kept heads make of images that nothing was searched on, along originals."""
    data = school.subject.unseen
    judge = Judge(school.subject.task, school.variants, data)
    look = school.look(kept.learners, data, school.variants.original)
    return look.seen(judge.worth, [tempered(confidence, t) for t in kept.temperatures])
