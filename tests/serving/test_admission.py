"""Admission: every refusal names the value, the limit and the remedy."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from blockstore.block import ORIGINAL, Artifact, Block, Model, TensorSpec, Variant
from schedulerd.errors import BadTensor, BadValue, NotRegistered, SchedulerdError, UnknownModel
from schedulerd.serving.admission import admit_app, admit_frame
from schedulerd.wire.messages import Infer, Register, TensorHeader
from tests.serving.parts import FRAME, LOGITS, live_app

VARIANT = Variant(ORIGINAL, ORIGINAL, (Artifact("onnxruntime", "0" * 64, 1),), 0.0, 1, 1)
MODEL = Model("digits", FRAME, LOGITS, 0.95, 100, (Block(0, "b", FRAME, LOGITS, (VARIANT,)),))
REQUEST = Register(1, "digits", budget_ms=20.0, rate_hz=10.0)


def test_a_sensible_registration_becomes_an_app() -> None:
    app = admit_app(replace(REQUEST, priority=7, accuracy_floor=0.9, late="drop"), "cam", {"digits": MODEL})
    assert (app.app_id, app.priority, app.accuracy_floor, app.late) == ("cam", 7, 0.9, "drop")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"budget_ms": 0.0}, "budget_ms is 0"),
        ({"budget_ms": -3.0}, "budget_ms is -3"),
        ({"budget_ms": math.nan}, "budget_ms is nan"),
        ({"budget_ms": 1e9}, "at most 60000"),
        ({"rate_hz": 0.0}, "rate_hz is 0"),
        ({"rate_hz": math.nan}, "rate_hz is nan"),
        ({"rate_hz": math.inf}, "rate_hz is inf"),
        ({"priority": 0}, "priority is 0"),
        ({"priority": 11}, "1 to 10"),
        ({"accuracy_floor": 0.96}, "reaches 0.9500"),
        ({"accuracy_floor": math.nan}, "accuracy_floor is nan"),
        ({"late": "later"}, "run, drop"),
    ],
)
def test_a_senseless_value_is_refused_by_name(change: dict[str, object], names: str) -> None:
    with pytest.raises(BadValue, match=names):
        admit_app(replace(REQUEST, **change), "cam", {"digits": MODEL})  # type: ignore[arg-type]  # table of cases


def test_an_unknown_model_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(UnknownModel, match=r"did you mean 'digits'\? the daemon has digits since it was started"):
        admit_app(replace(REQUEST, model="digit"), "cam", {"digits": MODEL})


def test_an_empty_store_says_how_to_fill_it() -> None:
    with pytest.raises(UnknownModel, match="schedulerd build"):
        admit_app(REQUEST, "cam", {})


@pytest.mark.parametrize("shape", [FRAME.shape, (1, *FRAME.shape)])
def test_a_frame_may_come_with_or_without_its_batch_dimension(shape: tuple[int, ...]) -> None:
    app = live_app()
    assert admit_frame(app, Infer(1, (TensorHeader("uint8", shape),))) is app


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        ((TensorHeader("float32", FRAME.shape),), BadTensor),
        ((TensorHeader("uint8", (2, 2)),), BadTensor),
        ((TensorHeader("uint8", (2, *FRAME.shape)),), BadTensor),
        ((), BadTensor),
        ((TensorHeader("uint8", FRAME.shape),) * 2, BadTensor),
    ],
)
def test_a_frame_of_the_wrong_kind_is_refused(tensors: tuple[TensorHeader, ...], kind: type[SchedulerdError]) -> None:
    with pytest.raises(kind):
        admit_frame(live_app(), Infer(1, tensors))


def test_infer_before_register_is_refused() -> None:
    with pytest.raises(NotRegistered):
        admit_frame(None, Infer(1, (TensorHeader("uint8", FRAME.shape),)))


def test_infer_before_the_first_route_is_refused() -> None:
    app = live_app()
    app.route = None
    with pytest.raises(NotRegistered, match="wait for the answer"):
        admit_frame(app, Infer(1, (TensorHeader(FRAME.dtype, TensorSpec("uint8", FRAME.shape).shape),)))
