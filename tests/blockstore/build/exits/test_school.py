"""Heads learn on a small network: they get better, smaller, and are the same each time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from blockstore.build.exits import losses
from blockstore.build.exits.heads import Head
from blockstore.build.exits.school import School, Subject, learners_of
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.exits.slimming import DROP, FEWEST
from blockstore.build.tasks.classification import Classification
from blockstore.build.tasks.registry import parse_task
from tests.blockstore.build.exits import coloured

SETTINGS = ExitSettings("flexdnn", epochs=6, batch_size=32, learning_rate=0.01, rounds=6)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return coloured.subject(tmp_path_factory.mktemp("variants"), halved=(0, 1))


def weights(school: School) -> list[torch.Tensor]:
    return [p for learner in school.learnt() for p in learner.head.parameters()]


def test_aggregation_takes_the_features_of_the_exit_before_where_they_can_be_pooled(subject: Subject) -> None:
    inputs = [
        ln.inputs
        for ln in learners_of(subject.blocks, subject.output, replace(SETTINGS, method="mxn"), subject.task, 0)
    ]
    assert inputs == [(0,), (0, 1), (1, 2)]
    skipping = ExitSettings("mxn", after=(0, 2))
    assert [ln.inputs for ln in learners_of(subject.blocks, subject.output, skipping, subject.task, 0)] == [
        (0,),
        (0, 2),
    ]
    alone = learners_of(subject.blocks, subject.output, SETTINGS, subject.task, 0)
    assert [ln.inputs for ln in alone] == [(0,), (1,), (2,)]


def test_each_method_has_its_loss_and_exits_their_weights(subject: Subject) -> None:
    task = parse_task("embedding")
    settings = ExitSettings("branchynet", weights=(0.5, 1.0, 2.0))
    made = learners_of(subject.blocks, subject.output, settings, subject.task, 0)
    assert [ln.weight for ln in made] == [0.5, 1.0, 2.0]
    assert {ln.loss for ln in made} == {losses.cross_entropy}
    assert {ln.loss for ln in learners_of(subject.blocks, subject.output, settings, task, 0)} == {losses.imitation}
    focal = learners_of(subject.blocks, subject.output, ExitSettings("mxn"), Classification(), 0)[0]
    assert focal.loss not in (losses.cross_entropy, losses.imitation)


def test_heads_are_drawn_by_the_seed_alone(subject: Subject) -> None:
    made = []
    for seed, state in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(state)
        learners = learners_of(subject.blocks, subject.output, SETTINGS, subject.task, seed)
        made.append(learners[0].head.linear.weight)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_pruned_heads_are_smaller_and_as_accurate_and_the_same_each_time(subject: Subject) -> None:
    settings = replace(SETTINGS, batch_size=8)
    school = coloured.school(subject, settings)
    learners = learners_of(subject.blocks, subject.output, settings, subject.task, 0)
    guessing = [float(school.judge.worth(x).mean()) for x in school.look(learners, subject.validation, None).logits]
    school.teach(learners)
    broad = school.look(learners, subject.validation, school.variants.original)
    before = [float(school.judge.worth(logits).mean()) for logits in broad.logits]
    slim = school.prune(learners)
    after = [
        float(school.judge.worth(logits).mean())
        for logits in school.look(slim, subject.validation, school.variants.original).logits
    ]
    assert min(before) > 0.7 > max(guessing)
    for was, is_, old, new in zip(before, after, learners, slim, strict=True):
        assert is_ >= was - DROP
        assert sum(new.head.design.filters) <= sum(old.head.design.filters)
    assert sum(sum(ln.head.design.filters) for ln in slim) < sum(sum(ln.head.design.filters) for ln in learners)
    torch.manual_seed(99)
    again = weights(coloured.school(subject, settings))
    first = [p for learner in slim for p in learner.head.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_layers_that_begin_anew_are_drawn_by_the_seed_alone(subject: Subject) -> None:
    found = []
    for seed, state in ((0, 1), (0, 2), (1, 1)):
        settings = replace(SETTINGS, rounds=1, learning_rate=0.05, sampled=0.0)
        school = coloured.school(subject, settings, seed)
        learners = learners_of(subject.blocks, subject.output, settings, subject.task, 0)[1:2]
        design = learners[0].head.design.with_filters((FEWEST,))
        learners[0].head = Head(design, subject.specs((1,)), subject.output).eval()
        torch.nn.init.zeros_(learners[0].head.linear.weight)
        torch.manual_seed(state)
        # It gives one class to all: without its layer, after a round, it is better.
        (slim,) = school.prune(learners)
        assert slim.head.design.filters == ()
        found.append(slim.head.linear.weight)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_heads_taught_on_drawn_routes_are_better_behind_variants(subject: Subject) -> None:
    behind = []
    for sampled in (0.0, 0.75):
        school = coloured.school(subject, replace(SETTINGS, sampled=sampled))
        learners = learners_of(subject.blocks, subject.output, SETTINGS, subject.task, 0)
        school.teach(learners)
        looked = school.look(learners, subject.validation, school.variants.uniform(coloured.HALF))
        behind.append(sum(float(school.judge.worth(logits).mean()) for logits in looked.logits) / 3)
    assert behind[1] > behind[0] + 0.02
