"""Admission: every refusal names the value, the limit and the remedy."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from blockstore.block import ORIGINAL, Artifact, Block, Exit, Model, TensorSpec, Variant
from blockstore.exits import CurveSet
from schedulerd.errors import BadTensor, BadValue, Drained, NotRegistered, SchedulerdError, UnknownModel
from schedulerd.serving.admission import admit_app, admit_frame
from schedulerd.wire.messages import Infer, Register, TensorHeader
from tests.serving.parts import CURVE, FRAME, LOGITS, AddBlock, SureHead, exit_of, live_app, route_with

VARIANT = Variant(ORIGINAL, ORIGINAL, (Artifact("onnxruntime", "0" * 64, 1),), 0.0, 1, 1)
MODEL = Model("digits", FRAME, LOGITS, 0.95, 100, (Block(0, "b", FRAME, LOGITS, (VARIANT,)),))
REQUEST = Register(1, "digits", budget_ms=20.0, rate_hz=10.0)

_MIDDLE = Block(0, "a", FRAME, FRAME, (VARIANT,))
_BLOCKS = (_MIDDLE, replace(_MIDDLE, index=1), Block(2, "b", FRAME, LOGITS, (VARIANT,)))
_EXITS = tuple(
    Exit(f"exit{n + 1}", n, (n,), "branchynet", "entropy", 1.0, (), 1, 1, CurveSet((CURVE,))) for n in range(2)
)
WITH_EXITS = {"exiting": Model("exiting", FRAME, LOGITS, 0.95, 100, _BLOCKS, exits=_EXITS)}
EXITING = REQUEST._replace(model="exiting")


def test_a_sensible_registration_becomes_an_app() -> None:
    wishes = REQUEST._replace(priority=7, accuracy_floor=0.9, late="drop", percentile=99.0)
    app = admit_app(wishes, "cam", {"digits": MODEL})
    assert (app.app_id, app.priority, app.accuracy_floor, app.late) == ("cam", 7, 0.9, "drop")
    assert app.percentile == 99.0


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"budget_ms": 0.0}, "budget_ms is 0"),
        ({"budget_ms": -3.0}, "budget_ms is -3"),
        ({"budget_ms": math.nan}, "budget_ms is nan"),
        ({"budget_ms": 1e9}, "must be 0.001 to 60000"),
        ({"budget_ms": 1e-300}, "must be 0.001 to 60000"),
        ({"rate_hz": 1e-300}, "must be 0.001 to 1000"),
        ({"rate_hz": 0.0}, "rate_hz is 0"),
        ({"rate_hz": math.nan}, "rate_hz is nan"),
        ({"rate_hz": math.inf}, "rate_hz is inf"),
        ({"priority": 0}, "priority is 0"),
        ({"priority": 11}, "1 to 10"),
        ({"accuracy_floor": 0.96}, "reaches 0.9500"),
        ({"accuracy_floor": math.nan}, "accuracy_floor is nan"),
        ({"late": "later"}, "run, drop"),
        ({"percentile": 49.9}, "percentile is 49.9"),
        ({"percentile": 100.0}, "to 99.9"),
        ({"percentile": math.nan}, "percentile is nan"),
    ],
)
def test_a_senseless_value_is_refused_by_name(change: dict[str, object], names: str) -> None:
    with pytest.raises(BadValue, match=names):
        admit_app(REQUEST._replace(**change), "cam", {"digits": MODEL})  # type: ignore[arg-type]  # table of cases


def test_a_policy_of_the_clients_own_becomes_the_apps() -> None:
    """By rising depth, whatever the order on the wire."""
    app = admit_app(EXITING._replace(exits={"final": 0.0, "exit1": 0.8}, late="exit"), "cam", WITH_EXITS)
    assert app.exits is not None
    assert (app.exits.steps, app.late) == ((("exit1", 0.8), ("final", 0.0)), "exit")


def test_a_policy_may_cap_the_depth() -> None:
    app = admit_app(EXITING._replace(exits={"exit2": 0.0}), "cam", WITH_EXITS)
    assert app.exits is not None
    assert app.exits.last == "exit2"


@pytest.mark.parametrize(
    ("exits", "names"),
    [
        ({}, "no exit at all"),
        ({"exit3": 0.5, "final": 0.0}, "no exit 'exit3'; there are exit1, exit2, final"),
        ({"exit1": 1.5, "final": 0.0}, "'exit1' in policy 'own' is 1.5: it must be 0 to 1"),
        ({"exit1": -0.1, "final": 0.0}, "is -0.1"),
        ({"exit1": 0.5}, "end it with 'final', or give 'exit1' the threshold 0"),
        ({"exit1": 0.0, "final": 0.0}, "nothing reaches 'final'"),
    ],
)
def test_a_senseless_policy_is_refused_by_name(exits: dict[str, float], names: str) -> None:
    with pytest.raises(BadValue, match=names):
        admit_app(EXITING._replace(exits=exits), "cam", WITH_EXITS)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"exits": {"final": 0.0}}, "'digits' has no exits; register without the key `exits`"),
        ({"late": "exit"}, "late is 'exit', and 'digits' has no exits; use drop or run"),
    ],
)
def test_a_model_without_exits_takes_neither_policy_nor_late_exit(change: dict[str, object], names: str) -> None:
    with pytest.raises(BadValue, match=names):
        admit_app(REQUEST._replace(**change), "cam", {"digits": MODEL})  # type: ignore[arg-type]  # table of cases


def test_a_frame_of_a_drained_app_is_refused_with_what_to_wait_for() -> None:
    app = live_app()
    app.drained = True
    with pytest.raises(Drained, match=r"an operator has drained 'cam': .* after `schedctl resume cam`"):
        admit_frame(app, asking())


def asking(*exits: str) -> Infer:
    return Infer(1, (TensorHeader("uint8", FRAME.shape),), exits)


def test_a_frame_may_ask_for_every_exit_of_the_route_and_its_end() -> None:
    app = live_app(route=route_with(exit_of(0, SureHead(), None), blocks=[AddBlock()] * 2))
    assert admit_frame(app, asking("final", "exit1")) is app


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (("exit2",), "the route of 'm' has no exit 'exit2'; it has exit1$"),
        (("final",), "no exit 'final'; it has exit1, as its policy ends at 'exit1'"),
        (("exit1", "exit1"), "exits are exit1, exit1; name each once"),
    ],
)
def test_exits_that_a_capped_route_cannot_give_are_refused_with_those_it_can(
    asked: tuple[str, ...], names: str
) -> None:
    app = live_app(route=route_with(exit_of(0, SureHead(), 0.0), blocks=[AddBlock()]))
    with pytest.raises(BadValue, match=names):
        admit_frame(app, asking(*asked))


def test_more_tensors_than_a_reply_carries_are_refused() -> None:
    outputs = (TensorSpec("float32", (1,)),) * 20
    app = live_app(route=route_with(exit_of(0, SureHead(), None), blocks=[AddBlock()] * 2), outputs=outputs)
    with pytest.raises(BadValue, match="2 exits give 40 tensors; a reply carries 32"):
        admit_frame(app, asking("exit1", "final"))


def test_an_unknown_model_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(UnknownModel, match=r"did you mean 'digits'\? the daemon has digits since it was started"):
        admit_app(REQUEST._replace(model="digit"), "cam", {"digits": MODEL})


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
