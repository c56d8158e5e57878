"""A build that is killed again and again ends in the store that an undisturbed one makes."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
from pathlib import Path

import pytest

from blockstore.errors import MissingModel
from blockstore.store import Store
from tests.blockstore.build.killable import build

KILLS = 5


def run(folder: Path, kill_after: int | None) -> int:
    """Steps that a build in `folder` told of before it was killed, after that many, or ended."""
    # Each process is forked from one that has imported torch, which takes longer than the build.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.blockstore.build.killable"])
    steps, tell = processes.Pipe(duplex=False)
    process = processes.Process(target=build, args=(folder, tell.send))
    process.start()
    tell.close()
    told = 0
    with steps, contextlib.suppress(EOFError):
        while told != kill_after:
            assert steps.poll(60)
            steps.recv()
            told += 1
        process.kill()
    process.join(60)
    assert process.exitcode == (0 if kill_after is None else -9)
    return told


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [0])
def test_killed_at_random_five_times_it_ends_in_the_same_store(tmp_path: Path, seed: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    steps = run(whole, None)
    chance = random.Random(seed)  # noqa: S311  # not for secrets
    for _ in range(KILLS):
        run(broken, chance.randrange(1, steps // 2))
        with Store.open(broken / "store") as store, pytest.raises(MissingModel):
            store.model("tiny")
    # What was done is not done again: fewer steps are left than there were.
    assert run(broken, None) < steps
    with Store.open(whole / "store") as one, Store.open(broken / "store") as other:
        assert other.model("tiny").to_json() == one.model("tiny").to_json()
        assert not other.verify().corrupt
    assert not list((broken / "work").iterdir())
