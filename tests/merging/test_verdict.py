"""When merging is worth it, and that verdicts and jobs travel as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockstore.block import TensorSpec
from schedulerd.merging.verdict import LEAST_GAIN, Run, TrialJob, Verdict

GOOD = Verdict(chain_ms=1.0, merged_ms=0.9, uncertainty=0.01, memory_bytes=1000, sha256="ab")


def test_a_clear_gain_is_taken() -> None:
    assert GOOD.faster
    assert GOOD.gain == pytest.approx(0.1)


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(chain_ms=1.0, merged_ms=1.1),
        Verdict(chain_ms=1.0, merged_ms=1.0 - 0.9 * LEAST_GAIN),
        Verdict(chain_ms=1.0, merged_ms=0.9, uncertainty=0.2),
        Verdict(fault="other operator sets"),
        GOOD.refused("it cannot be loaded"),
    ],
    ids=["slower", "hardly faster", "uncertain", "faulty", "refused"],
)
def test_anything_else_is_not(verdict: Verdict) -> None:
    assert not verdict.faster


def test_a_verdict_survives_json() -> None:
    assert Verdict.from_json(GOOD.to_json()) == GOOD


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'"a"', b"\xff", GOOD.to_json()[:-5]])
def test_what_is_no_verdict_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of json as well as of ours
        Verdict.from_json(data)


def test_a_job_is_one_line_of_json() -> None:
    job = TrialJob(2, TensorSpec("uint8", (8, 8, 1)), (Path("/a\nb"), Path("/c")), (Run(0, 2),), (Path("/d"),), 5.0)
    line = job.to_json()
    assert line.count(b"\n") == 1
    assert TrialJob.from_json(line) == job
