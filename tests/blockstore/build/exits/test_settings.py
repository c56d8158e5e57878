"""What a build is told about exits: what cannot be meant is refused with the value and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from blockstore.block import TensorSpec
from blockstore.build.exits.settings import ExitSettings
from blockstore.build.settings import BuildSettings
from blockstore.errors import CannotBuild

NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "budding"}, "exits 'budding' are unknown: branchynet, flexdnn, mxn"),
        ({"pooling": "median"}, "exit pooling 'median' is unknown: flatten, average, maximum"),
        ({"precision": 0.0}, "exit precision is 0.0: above 0 and at most 1, as 0.99"),
        ({"precision": 99.0}, "exit precision is 99.0"),
        ({"precision": NAN}, "exit precision is nan"),
        ({"sampled": 1.5}, "exit sampled is 1.5: a share of the batches, 0 to 1"),
        ({"sampled": NAN}, "exit sampled is nan"),
        ({"learning_rate": 0.0}, "exit learning rate is 0.0: give a number above 0"),
        ({"gamma": -1.0}, "exit gamma is -1.0: 0 or more; 0 is cross entropy"),
        ({"gamma": NAN}, "exit gamma is nan"),
        ({"weights": (1.0, -0.5)}, r"exit weights are \(1.0, -0.5\): numbers of at least 0"),
        ({"epochs": 0}, "exit epochs is 0: it must be at least 1"),
        ({"batch_size": 1}, "exit batch size is 1: it must be at least 2"),
        ({"rounds": -1}, "exit rounds is -1: it must be at least 0"),
        ({"joint": -1}, "exit joint is -1: it must be at least 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotBuild, match=message):
        ExitSettings(**{"method": "flexdnn", **change})


def test_each_method_has_its_own_loss_and_measure() -> None:
    methods = [ExitSettings(method) for method in ("branchynet", "flexdnn", "mxn")]
    assert [s.focus for s in methods] == [0.0, 0.0, 2.0]
    assert [s.measure for s in methods] == ["entropy", "max_probability", "max_probability"]
    assert ExitSettings("mxn", gamma=0.0).focus == 0.0
    assert ExitSettings("branchynet", confidence="max_probability").measure == "max_probability"


def test_exits_stand_after_each_block_but_the_last_or_where_they_are_asked_for() -> None:
    assert ExitSettings("mxn").places(4) == (0, 1, 2)
    assert ExitSettings("mxn", after=(2, 0, 2)).places(4) == (0, 2)


@pytest.mark.parametrize("place", [-1, 3, 9])
def test_there_is_no_exit_after_the_last_block_or_one_that_there_is_not(place: int) -> None:
    with pytest.raises(CannotBuild, match=f"no exit can stand after block {place}: the network has blocks 0 to 3"):
        ExitSettings("mxn", after=(0, place)).places(4)


def test_exits_decide_what_variants_become_only_where_the_backbone_learns_with_them() -> None:
    def key(exits: ExitSettings | None) -> str:
        settings = BuildSettings("tiny", TensorSpec("uint8", (8, 8, 1)), (0.0,), (1.0,), exits=exits)
        return settings.key(b"weights")

    assert key(None) == key(ExitSettings("mxn")) == key(ExitSettings("flexdnn", epochs=9))
    jointly = [
        key(ExitSettings("mxn", joint=1)),
        key(ExitSettings("mxn", joint=2)),
        key(ExitSettings("flexdnn", joint=1)),
    ]
    assert len({key(None), *jointly}) == 4
