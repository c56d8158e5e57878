"""Taught heads as the exits of a manifest: what their figures are taken from."""

from __future__ import annotations

import pytest

from blockstore.build.exits.confidence import max_probability
from blockstore.build.exits.curves import curve
from blockstore.build.exits.finish import costs_of, finish
from blockstore.build.exits.material import Judge, tempered
from blockstore.build.exits.school import School, learners_of
from blockstore.build.exits.settings import ExitSettings
from tests.blockstore.build.exits import coloured

SETTINGS = ExitSettings("branchynet", confidence="max_probability", epochs=4, batch_size=16, learning_rate=0.01)


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> School:
    about = coloured.subject(tmp_path_factory.mktemp("variants"), halved=(0,))
    return coloured.school(about, SETTINGS)


def test_figures_are_of_originals_temperatures_of_drawn_routes_too_forecasts_of_unseen_images(
    school: School,
) -> None:
    about = school.subject
    learners = learners_of(about.blocks, about.output, SETTINGS, about.task, 0)
    school.teach(learners)
    made = finish(school, learners, coloured.Blobs())
    routes = [school.look(learners, about.validation, route) for route in (school.variants.original, None)]
    for number, e in enumerate(made.exits):
        assert e.temperature == school.judge.temperature([look.logits[number] for look in routes])
    sure = [tempered(max_probability, e.temperature) for e in made.exits]
    general = routes[0].seen(school.judge.worth, sure)
    behind = school.look(learners, about.validation, school.variants.uniform(coloured.HALF))
    halved = behind.seen(school.judge.worth, sure)
    for number, e in enumerate(made.exits):
        assert e.curves.of(()) == curve(general.confidence[number], general.worth[number], general.worth[-1])
        own = curve(halved.confidence[number], halved.worth[number], halved.worth[-1], coloured.HALF)
        assert e.curves.own() == (coloured.HALF,)
        assert e.curves.of((coloured.HALF,)) == own
        assert e.settings["accuracy"] == round(float(general.worth[number].mean()), 4)
    judge = Judge(about.task, school.variants, about.unseen)
    found = school.look(learners, about.unseen, school.variants.original).seen(judge.worth, sure)
    (cap,) = (o for o in made.policies if o.policy.steps == (("exit1", 0.0),))
    assert cap.forecast.accuracy_drop == pytest.approx(found.full_accuracy - found.worth[0].mean(), abs=1e-5)
    assert costs_of(school, learners).heads == tuple(float(e.multiply_adds) for e in made.exits)
