"""The accuracy model: what it predicts, and what it is as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstore.accuracy_model import KINDS, LINEAR, LOGISTIC, WEIBULL, AccuracyModel, Evidence
from blockstore.errors import BadManifest

MODEL = AccuracyModel(
    kind=WEIBULL,
    original=0.9,
    floor=0.1,
    shape=2.0,
    damages=((0.0, 0.25, 1.0), (0.0, 0.04)),
    cosines=(),
    error=0.01,
    evidence=(Evidence((1, 0), 0.85, checked=False), Evidence((2, 1), 0.4, checked=True)),
)


@pytest.mark.parametrize("kind", KINDS)
def test_originals_have_the_accuracy_that_was_measured(kind: str) -> None:
    assert replace(MODEL, kind=kind).predict((0, 0)) == pytest.approx(0.9)


def test_each_kind_has_the_curve_that_it_is_named_for() -> None:
    damage = 0.25 + 0.04
    assert MODEL.predict((1, 1)) == pytest.approx(0.1 + 0.8 * math.exp(-(damage**2)))
    logistic = replace(MODEL, kind=LOGISTIC).predict((1, 1))
    assert logistic == pytest.approx(0.1 + 0.8 * (1 + math.exp(-2)) / (1 + math.exp(damage - 2)))
    assert replace(MODEL, kind=LINEAR).predict((1, 1)) == pytest.approx(0.9 - damage)


def test_cosines_join_damages_like_vectors() -> None:
    model = replace(MODEL, kind=LINEAR, cosines=((), (0.5,)))
    assert model.predict((1, 1)) == pytest.approx(0.9 - (0.25 + 0.04 + 2 * 0.5 * 0.5 * 0.2))
    assert model.predict((1, 0)) == pytest.approx(0.9 - 0.25)


@pytest.mark.parametrize("kind", KINDS)
@given(lengths=st.lists(st.floats(0, 1e6), min_size=2, max_size=2), cosine=st.floats(-1, 1))
def test_every_prediction_lies_between_floor_and_original(kind: str, lengths: list[float], cosine: float) -> None:
    damages = ((0.0, lengths[0]), (0.0, lengths[1]))
    model = replace(MODEL, kind=kind, damages=damages, cosines=((), (cosine,)))
    assert 0.1 <= model.predict((1, 1)) <= 0.9


def test_a_route_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="has 3 positions for 2 blocks"):
        MODEL.predict((0, 0, 0))


def test_json_gives_the_same_model_back() -> None:
    model = replace(MODEL, cosines=((), (-0.25,)))
    assert AccuracyModel.from_document(json.loads(json.dumps(model.to_document()))) == model


def test_a_model_that_was_not_checked_and_evidence_with_figures_come_back_too() -> None:
    evidence = (Evidence((1, 0), 0.85, checked=False, figures={"agreement": 0.95, "top1": 0.85}), MODEL.evidence[1])
    model = replace(MODEL, error=None, evidence=evidence)
    assert AccuracyModel.from_document(json.loads(json.dumps(model.to_document()))) == model
    assert model.keeping(((0, 1), (0,))).evidence == evidence[:1]


def test_evidence_without_figures_has_the_document_that_it_always_had() -> None:
    assert MODEL.to_document()["evidence"][0] == {"route": (1, 0), "accuracy": 0.85, "checked": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": -0.1}, "negative or not finite"),
        (
            {"evidence": [{"route": [0, 0], "accuracy": 0.5, "checked": True, "figures": {"f1": math.inf}}]},
            "finite",
        ),
        ({"kind": "cubic"}, "kind 'cubic', this version reads linear, weibull, logistic"),
        ({"floor": 0.95}, "1 >= original >= floor"),
        ({"shape": float("nan")}, "negative or not finite"),
        ({"damages": [[0.0, -0.1], [0.0]]}, "negative or not finite"),
        ({"damages": [[0.1], [0.0]]}, "whose original has a damage"),
        ({"damages": []}, "whose original has a damage, or none"),
        ({"cosines": [[], [1.5]]}, "triangle"),
        ({"cosines": [[0.1]]}, "triangle"),
        ({"evidence": [{"route": [3, 0], "accuracy": 0.5, "checked": True}]}, r"impossible evidence \(3, 0\)"),
        ({"evidence": [{"route": [0], "accuracy": 0.5, "checked": True}]}, "impossible evidence"),
        ({"evidence": [{"route": [0, 0]}]}, "KeyError"),
        ({"damages": 3}, "TypeError"),
    ],
)
def test_a_document_that_no_prediction_could_rely_on_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadManifest, match=message):
        AccuracyModel.from_document({**MODEL.to_document(), **change})


def test_without_some_variants_the_others_predict_as_before() -> None:
    kept = MODEL.keeping(((0, 2), (0, 1)))
    assert kept.predict((1, 1)) == MODEL.predict((2, 1))
    assert kept.evidence == (Evidence((1, 1), 0.4, checked=True),)
    assert kept.error == MODEL.error
