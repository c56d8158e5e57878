"""Costs: stages are counted with the processes that they start."""

from __future__ import annotations

import subprocess
import sys

import pytest

from blockstore.build.costs import Costs

BUSY = "import time\nwhile time.process_time() < 0.2: pass"


def test_stages_come_in_order_with_the_time_of_their_children() -> None:
    costs = Costs()
    with costs.stage("cut"):
        pass
    with costs.stage("craft"):
        subprocess.run([sys.executable, "-c", BUSY], check=True, timeout=60)
    cut, craft = costs.all()
    assert (cut.stage, craft.stage) == ("cut", "craft")
    assert craft.cpu_s >= 0.2
    assert craft.wall_s > 0
    assert cut.cpu_s < craft.cpu_s


def test_a_stage_that_fails_is_not_counted() -> None:
    costs = Costs()
    with pytest.raises(ZeroDivisionError), costs.stage("cut"):
        _ = 1 / 0
    assert costs.all() == ()
