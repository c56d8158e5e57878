"""What an operator pins: checked against a model, put together, taken apart, and what of it does not run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockstore.exits import NO_EXITS, ExitPolicy
from schedulerd.control.pins import by_block, checked, joined, named, unmet, whole, without
from schedulerd.errors import BadValue
from schedulerd.plan import NO_PINS, Pins, Route
from tests.control.exiting import EXITING
from tests.control.stage import MODEL

ROUTE = Route("m", ("original", "small"), ("A", "b"))
HELD = Pins((("first", "original"), ("second", "small")))


def test_pins_come_in_the_order_of_the_blocks() -> None:
    assert checked({"second": "small", "first": "original"}, MODEL) == HELD


def test_a_block_may_be_given_by_its_number() -> None:
    assert checked({"1": "small"}, MODEL) == Pins((("second", "small"),))
    assert named("0", MODEL) == "first"
    for other in ("2", "-1", "second", "\u00b2", ""):
        assert named(other, MODEL) == other
    numbered = replace(MODEL, blocks=(MODEL.blocks[0], replace(MODEL.blocks[1], name="0")))
    assert named("0", numbered) == "0", "a name comes first"


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ({"frist": "small"}, "'m' has no block 'frist'; there are: first, second; did you mean \"first\"?"),
        ({"2": "small"}, "'m' has no block '2'; there are: first, second$"),
        ({"nothing": "small"}, "'m' has no block 'nothing'; there are: first, second$"),
        ({"first": "smal"}, "block 'first' of 'm' has no variant 'smal'; there are: original, small; did you mean"),
    ],
)
def test_what_the_model_does_not_have_is_refused_with_the_nearest(pins: dict[str, str], said: str) -> None:
    with pytest.raises(BadValue, match=said.replace("?", r"\?")):
        checked(pins, MODEL)


def test_a_whole_route_is_its_variants_and_the_exit_policy_of_a_model_that_has_exits() -> None:
    assert whole(ROUTE, MODEL) == HELD
    early = Route("m", ("original",), ("a",), ExitPolicy("cap", (("exit1", 0.0),)))
    assert whole(early, EXITING) == Pins((("block0", "original"),), (("exit1", 0.0),))
    to_the_end = Route("m", ("original",) * 3, ("a", "b", "c"))
    assert whole(to_the_end, EXITING).exits == NO_EXITS.steps


def test_more_pins_are_added_and_a_block_has_the_last_one() -> None:
    known = Pins((("first", "small"), ("old-block", "x")), (("exit1", 0.0),))
    more = Pins((("second", "small"), ("first", "original")))
    assert joined(known, more, MODEL) == Pins(
        (("first", "original"), ("second", "small"), ("old-block", "x")), (("exit1", 0.0),)
    )
    assert joined(known, Pins((), (("final", 0.0),)), MODEL).exits == (("final", 0.0),)


def test_blocks_are_freed_one_by_one_and_one_that_is_not_pinned_is_refused() -> None:
    assert without(HELD, ["first"], "cam") == Pins((("second", "small"),))
    with pytest.raises(BadValue, match="block 'secnd' of 'cam' is not pinned; there are: first, second; did you mean"):
        without(HELD, ["secnd"], "cam")
    with pytest.raises(BadValue, match="not pinned"):
        without(HELD, ["first", "first"], "cam")


def test_the_optimizer_gets_a_variant_for_each_block() -> None:
    assert by_block(Pins((("second", "small"),)), MODEL) == ("", "small")
    assert by_block(NO_PINS, MODEL) == ()
    assert by_block(Pins((("of-another-model", "x"),)), MODEL) == ()


@pytest.mark.parametrize(
    ("pins", "route", "said"),
    [
        (NO_PINS, ROUTE, []),
        (HELD, ROUTE, []),
        (HELD, None, []),
        (Pins((("third", "small"),)), None, ["m has no block third"]),
        (Pins((("first", "tiny"),)), None, ["first of m has no variant tiny"]),
        (Pins((("first", "small"),)), ROUTE, ["first runs original now, not small"]),
        (Pins((), (("exit1", 0.0),)), ROUTE, ["the exit policy exit1 is not offered, final is used"]),
        (Pins((("second", "original"),)), replace(ROUTE, variants=("original",)), []),
    ],
)
def test_what_does_not_run_is_told(pins: Pins, route: Route | None, said: list[str]) -> None:
    assert unmet(pins, MODEL, route) == said
