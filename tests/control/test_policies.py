"""Exit policies as the optimizer sees them: what is offered, what it costs, where frames leave, and what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockprofiles.record import Row
from blockstore.block import ORIGINAL, Artifact, Block, Exit, Model, Variant
from blockstore.exits import FINAL, NO_EXITS, Curve, CurvePoint, CurveSet, ExitPolicy, Forecast, OfferedPolicy
from schedulerd.control.policies import LEAST_REACH, Observed, forecast_of, leave_rates, policy_options
from schedulerd.errors import StoreFault
from schedulerd.optimizer.problem import Head, PolicyOption
from schedulerd.plan import App
from tests.serving.parts import FRAME, LOGITS

CURVE = Curve("", (CurvePoint(0.0, 1.0, 0.8, 1.0), CurvePoint(0.5, 0.6, 0.9, 0.7), CurvePoint(1.0, 0.0, 1.0, 0.85)))
"""Right of all frames at half confidence: 0.54 here, 0.28 at the end for the rest; the full route is right on 0.85."""
LATER = Curve("", (CurvePoint(0.0, 1.0, 0.84, 1.0), CurvePoint(0.5, 0.9, 0.88, 0.55), CurvePoint(1.0, 0.0, 1.0, 0.85)))


def block(index: int) -> Block:
    original = Variant(ORIGINAL, ORIGINAL, (Artifact("onnxruntime", f"b{index}", 1),), 0.0, 1, 1)
    return Block(index, f"b{index}", LOGITS if index else FRAME, LOGITS, (original,))


def exit_after(number: int, curve: Curve) -> Exit:
    artifacts = (Artifact("onnxruntime", f"head{number}", 1),)
    return Exit(f"exit{number}", number, (number,), "branchynet", "entropy", 1.0, artifacts, 1, 1, CurveSet((curve,)))


def policy(name: str, *steps: tuple[str, float]) -> ExitPolicy:
    return ExitPolicy(name, steps)


EARLY = policy("early", ("exit0", 0.5), ("exit1", 0.9), (FINAL, 0.0))
CAPPED = policy("capped", ("exit0", 0.7), ("exit1", 0.0))
LATE = policy("late", ("exit1", 0.9), (FINAL, 0.0))
MODEL = Model(
    "m",
    FRAME,
    LOGITS,
    0.9,
    100,
    tuple(block(index) for index in range(4)),
    exits=(exit_after(0, CURVE), exit_after(1, LATER)),
    policies=(
        OfferedPolicy(EARLY, Forecast((0.5, 0.3, 0.2), 0.01)),
        OfferedPolicy(CAPPED, Forecast((0.4, 0.6), 0.06)),
        OfferedPolicy(LATE, Forecast((0.7, 0.3), 0.004)),
    ),
)
HEADS = {
    "exit0": Row("head0", "onnxruntime", 1, 0.2, 0.3, 1000, arena_bytes=300),
    "exit1": Row("head1", "onnxruntime", 1, 0.1, 0.5, 2000, arena_bytes=200),
}
CAM = App("cam", "m", 50.0, 10.0)


def option(name: str, options: tuple[PolicyOption, ...]) -> PolicyOption:
    return next(o for o in options if o.policy.name == name)


def shares(made: ExitPolicy, observed: Observed) -> tuple[float, ...]:
    """What is expected of an offered policy after something was seen."""
    return option(made.name, policy_options(MODEL, HEADS, CAM, observed)).shares


def test_a_model_without_exits_has_no_policies() -> None:
    assert policy_options(replace(MODEL, exits=(), policies=()), {}, CAM) == ()


def test_running_every_frame_to_the_end_comes_first_and_loads_every_head_without_running_one() -> None:
    first, *others = policy_options(MODEL, HEADS, CAM)
    assert [o.policy for o in others] == [EARLY, CAPPED, LATE]
    assert first == PolicyOption(
        policy=NO_EXITS,
        shares=(1.0,),
        reach=(1.0, 1.0, 1.0, 1.0),
        heads_ms=(0.0, 0.0, 0.0, 0.0),
        heads_p95_ms=(0.0, 0.0, 0.0, 0.0),
        heads=(Head("head0", 1000, 300), Head("head1", 2000, 200)),
        accuracy_drop=0.0,
        heads_mj=(0.0, 0.0, 0.0, 0.0),
    )


def test_energies_of_heads_are_known_where_those_of_all_that_run_are() -> None:
    heads = {**HEADS, "exit0": replace(HEADS["exit0"], energy_mj=0.4)}
    offered = {o.policy.name: o.heads_mj for o in policy_options(MODEL, heads, CAM)}
    assert offered == {"none": (0.0, 0.0, 0.0, 0.0), "early": (), "capped": (), "late": ()}
    whole = {**heads, "exit1": replace(HEADS["exit1"], energy_mj=0.3)}
    assert option("late", policy_options(MODEL, whole, CAM)).heads_mj == (0.0, 0.3, 0.0, 0.0)


def test_a_block_is_reached_by_those_that_have_not_left_before_it() -> None:
    early = option("early", policy_options(MODEL, HEADS, CAM))
    assert early.reach == pytest.approx((1.0, 0.5, 0.2, 0.2))
    assert (early.heads_ms, early.heads_p95_ms) == ((0.2, 0.1, 0.0, 0.0), (0.3, 0.5, 0.0, 0.0))
    assert (early.shares, early.accuracy_drop, early.depth) == ((0.5, 0.3, 0.2), 0.01, 4)


def test_blocks_and_heads_behind_a_cap_are_needed_by_nobody() -> None:
    capped = option("capped", policy_options(MODEL, HEADS, CAM))
    assert (capped.reach, capped.depth) == ((1.0, 0.6, 0.0, 0.0), 2)
    assert capped.heads_ms == (0.2, 0.1, 0.0, 0.0)
    shallow = policy("shallow", ("exit0", 0.0))
    (own,) = policy_options(MODEL, HEADS, replace(CAM, exits=shallow))
    assert (own.reach, own.heads) == ((1.0, 0.0, 0.0, 0.0), (Head("head0", 1000, 300),))


def test_a_block_that_no_frame_of_the_forecast_came_to_can_be_reached_all_the_same() -> None:
    all_leave = replace(MODEL, policies=(OfferedPolicy(LATE, Forecast((1.0, 0.0), 0.0)),))
    late = option("late", policy_options(all_leave, HEADS, CAM))
    assert (late.reach[2:], late.depth) == ((LEAST_REACH, LEAST_REACH), 4)


def test_policies_whose_heads_cannot_be_used_are_not_offered() -> None:
    offered = policy_options(MODEL, {"exit1": HEADS["exit1"]}, CAM)
    assert [o.policy for o in offered] == [NO_EXITS, LATE]
    assert offered[0].heads == (Head("head1", 2000, 200),)
    assert [o.policy for o in policy_options(MODEL, {}, CAM)] == [NO_EXITS]


def test_an_app_with_its_own_policy_gets_no_other() -> None:
    own = policy("own", *EARLY.steps)
    (only,) = policy_options(MODEL, HEADS, replace(CAM, exits=own))
    # The same steps as an offered policy: what was found for that holds.
    assert (only.policy, only.shares, only.accuracy_drop) == (own, (0.5, 0.3, 0.2), 0.01)


def test_an_own_policy_without_exits_is_the_one_of_every_route_without_them() -> None:
    (only,) = policy_options(MODEL, {}, replace(CAM, exits=policy("own", (FINAL, 0.0))))
    assert only.policy == NO_EXITS


def test_an_own_policy_whose_head_cannot_be_used_is_a_store_fault() -> None:
    with pytest.raises(StoreFault, match="exit 'exit0' of 'm' has no usable head"):
        policy_options(MODEL, {"exit1": HEADS["exit1"]}, replace(CAM, exits=EARLY))


def test_an_unknown_policy_of_one_exit_is_read_off_its_curve() -> None:
    forecast = forecast_of(MODEL, policy("own", ("exit0", 0.5), (FINAL, 0.0)))
    assert forecast.shares == pytest.approx((0.6, 0.4))
    assert forecast.accuracy_drop == pytest.approx(0.85 - 0.6 * 0.9 - 0.4 * 0.7)


def test_two_exits_are_taken_to_agree_on_which_frames_are_easy() -> None:
    """0.6 leave first; of the 0.9 that exit1 is sure of, the less sure 0.3 are left: 0.9 x 0.88 less the surer 0.6."""
    forecast = forecast_of(MODEL, policy("own", ("exit0", 0.5), ("exit1", 0.5), (FINAL, 0.0)))
    assert forecast.shares == pytest.approx((0.6, 0.3, 0.1))
    right = 0.54 + (0.792 - 0.6 / 0.9 * 0.792) + 0.1 * 0.55
    assert forecast.accuracy_drop == pytest.approx(0.85 - right)


def test_an_exit_that_is_stricter_than_the_one_before_it_lets_nobody_go() -> None:
    forecast = forecast_of(MODEL, policy("own", ("exit0", 0.25), ("exit1", 0.75), (FINAL, 0.0)))
    assert forecast.shares == pytest.approx((0.8, 0.0, 0.2))


def test_a_cap_takes_all_that_are_left() -> None:
    forecast = forecast_of(MODEL, policy("own", ("exit0", 0.5), ("exit1", 0.0)))
    assert forecast.shares == pytest.approx((0.6, 0.4))
    assert forecast.accuracy_drop == pytest.approx(0.85 - 0.54 - (0.84 - 0.6 / 0.9 * 0.792))


def test_leave_rates_are_of_those_that_come_to_the_exit() -> None:
    assert leave_rates(EARLY, (0.5, 0.3, 0.2)) == pytest.approx({"exit0": 0.5, "exit1": 0.6})
    assert leave_rates(EARLY, (1.0, 0.0, 0.0)) == {"exit0": 1.0}


def test_of_the_policy_that_was_observed_the_rates_are_what_was_seen() -> None:
    seen = shares(EARLY, Observed(EARLY, {"exit0": 0.2, "exit1": 0.25}))
    assert seen == pytest.approx((0.2, 0.8 * 0.25, 0.8 * 0.75))
    early = option("early", policy_options(MODEL, HEADS, CAM, Observed(EARLY, {"exit0": 0.2, "exit1": 0.25})))
    assert early.reach == pytest.approx((1.0, 0.8, 0.6, 0.6))
    assert early.accuracy_drop == 0.01


def test_exits_that_too_few_frames_came_to_are_as_forecast() -> None:
    assert shares(EARLY, Observed(EARLY, {"exit0": 0.2})) == pytest.approx((0.2, 0.8 * 0.6, 0.8 * 0.4))


def test_other_policies_at_the_same_exit_are_shifted_in_log_odds() -> None:
    """Odds of 1 became odds of 1/4 at exit0; CAPPED expects 0.4 there, odds of 2/3, which become 1/6."""
    observed = Observed(EARLY, {"exit0": 0.2})
    assert shares(CAPPED, observed) == pytest.approx((1 / 7, 6 / 7))
    assert shares(LATE, observed) == (0.7, 0.3)
    assert shares(NO_EXITS, observed) == (1.0,)


def test_a_rate_of_nothing_or_all_leaves_every_share_between_the_two() -> None:
    for rate in (0.0, 1.0):
        seen = shares(CAPPED, Observed(EARLY, {"exit0": rate, "exit1": rate}))
        assert sum(seen) == pytest.approx(1.0)
        assert all(0.0 < share < 1.0 for share in seen)


def test_what_was_seen_counts_from_the_stored_forecast_and_so_does_not_add_up() -> None:
    """Planned anew with the same observation, the same is expected."""
    observed = Observed(CAPPED, {"exit0": 0.1})
    assert shares(CAPPED, observed) == shares(CAPPED, observed) == pytest.approx((0.1, 0.9))
