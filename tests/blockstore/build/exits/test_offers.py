"""The policies that a manifest offers: what is searched, what is left out, and what their forecasts say."""

from __future__ import annotations

import numpy as np
import pytest

from blockstore.build.exits.descent import OFF
from blockstore.build.exits.insertion import Costs
from blockstore.build.exits.offers import Searched, offers, searched
from blockstore.build.exits.seen import Seen
from blockstore.exits import FINAL, OfferedPolicy, check_policy, offered_from

NAMES = ("exit1", "exit2", "exit3")
DEPTHS = {"exit1": 0, "exit2": 1, "exit3": 2}
COSTS = Costs((20.0, 40.0, 60.0, 100.0), (3.0, 3.0, 3.0))


def seen(seed: int, frames: int = 400) -> Seen:
    draw = np.random.default_rng(seed)
    hardness = draw.random(frames)
    worth = np.stack([draw.random(frames) > hardness * miss for miss in (0.6, 0.4, 0.3, 0.1)]).astype(float)
    return Seen(np.clip(1 - hardness + draw.normal(0, 0.1, (3, frames)), 0, 1), worth)


def one_by_one(offered: OfferedPolicy, images: Seen) -> tuple[list[float], float]:
    """Shares of the steps, and the accuracy, of frames that are run as an executor would."""
    steps = offered.policy.steps
    left, right = [0] * len(steps), 0.0
    for frame in range(images.worth.shape[1]):
        for step, (name, threshold) in enumerate(steps):
            exit_ = len(NAMES) if name == FINAL else NAMES.index(name)
            if threshold == 0 or images.confidence[exit_, frame] >= threshold:
                left[step] += 1
                right += images.worth[exit_, frame]
                break
    frames = images.worth.shape[1]
    return [n / frames for n in left], right / frames


def made(seed: int = 0) -> tuple[tuple[OfferedPolicy, ...], Seen]:
    unseen = seen(seed + 100)
    return offers(list(searched(seen(seed), COSTS, 0.99)), NAMES, unseen, COSTS), unseen


@pytest.mark.parametrize("seed", range(3))
def test_forecasts_are_those_of_frames_run_one_by_one_caps_included(seed: int) -> None:
    offered, unseen = made(seed)
    assert {"cap-1", "cap-2"} <= {o.policy.name for o in offered}
    for one in offered:
        shares, accuracy = one_by_one(one, unseen)
        assert list(one.forecast.shares) == pytest.approx(shares)
        assert one.forecast.accuracy_drop == pytest.approx(unseen.full_accuracy - accuracy, abs=1e-5)


@pytest.mark.parametrize("frames", [7, 11, 400])
def test_a_manifest_takes_them(frames: int) -> None:
    unseen = seen(9, frames)
    offered = offers(list(searched(seen(4), COSTS, 0.99)), NAMES, unseen, COSTS)
    documents = [
        {
            "policy": {"name": o.policy.name, "steps": o.policy.steps},
            "forecast": {"shares": o.forecast.shares, "accuracy_drop": o.forecast.accuracy_drop},
        }
        for o in offered
    ]
    assert offered_from(documents, DEPTHS) == offered
    for one in offered:
        check_policy(one.policy, DEPTHS)


def test_every_depth_is_offered_and_a_policy_that_enables_nothing_is_not() -> None:
    offered, _ = made()
    assert {o.policy.last for o in offered} == {*NAMES, FINAL}
    nothing = Searched("drop-0", (OFF, OFF, OFF), 3)
    assert offers([nothing], NAMES, seen(0), COSTS) == ()


def test_of_equal_policies_the_first_is_offered() -> None:
    same = [Searched(name, (0.5, OFF, 0.5), 3) for name in ("drop-0", "drop-1")]
    assert [o.policy.name for o in offers(same, NAMES, seen(0), COSTS)] == ["drop-0"]


def test_a_policy_that_another_of_the_same_end_beats_is_left_out() -> None:
    images = seen(0)
    # Here the first exit is as good as the end: who enables it spares more and loses nothing.
    perfect = Seen(np.ones((3, 400)), np.ones((4, 400)))
    found = [
        Searched("late", (OFF, OFF, 0.5), 3),
        Searched("early", (0.5, OFF, OFF), 3),
        Searched("cap", (OFF, OFF), 2),
    ]
    assert [o.policy.name for o in offers(found, NAMES, perfect, COSTS)] == ["early", "cap"]
    assert len(offers(found, NAMES, images, COSTS)) == 3


def test_the_head_of_a_cap_counts_for_all_that_come_there() -> None:
    # Four of ten leave at the first exit: they are spared 10 of the backbone and the head at the cap, 30, for 5.
    dear = Costs((10.0, 20.0, 100.0), (5.0, 30.0))
    images = Seen(np.stack([np.arange(10) < 4, np.zeros(10)]).astype(float), np.ones((3, 10)))
    found = [Searched("plain", (OFF,), 1), Searched("early", (0.5,), 1)]
    assert [o.policy.name for o in offers(found, ("exit1", "exit2"), images, dear)] == ["early"]


def test_an_exit_that_is_not_enabled_is_no_step() -> None:
    (one,) = offers([Searched("own", (0.5, OFF, 0.25), 3)], NAMES, seen(0), COSTS)
    assert one.policy.steps == (("exit1", 0.5), ("exit3", 0.25), (FINAL, 0.0))
    assert len(one.forecast.shares) == 3
