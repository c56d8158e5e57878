"""A build that is killed again and again ends in the store that an undisturbed one makes."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from blockstore.errors import MissingModel
from blockstore.store import Store

ROOT = Path(__file__).resolve().parent.parent.parent
KILLS = 5


def run(folder: Path, kill_after: int | None) -> int:
    """Steps that a build in `folder` told of before it was killed, after that many, or ended."""
    command = [sys.executable, "-m", "tests.blockstore.build.killable", str(folder / "store"), str(folder / "work")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        told = 0
        for told, _ in enumerate(process.stdout, start=1):
            if told == kill_after:
                process.kill()
                break
        process.stdout.close()
        code = process.wait(timeout=60)
    assert code == (0 if kill_after is None else -9)
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
