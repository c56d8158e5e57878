"""A job arrives as it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockprofiles.device import Device
from blockprofiles.effort import QUICK
from blockprofiles.record import Row
from blockprofiles.table import Table
from blockstore.errors import BadManifest
from schedulerd.profiling.job import Job
from tests.profiles.scripted import model_of

TABLE = Table(
    Device("A76", "aarch64", 4, None, 2**32, "scripted", "1.0", 1), (Row("a", "scripted", 1, 1.0, 2.0, 3),), "then"
)
JOB = Job(
    models=(model_of(("a", "b"), ("c",), exits={"h": (0,)}),),
    paths={"a": Path("/blobs/a")},
    engine="scripted",
    threads=2,
    also=("torch",),
    alternates=True,
    only=frozenset("ab"),
    effort=QUICK,
    budget_s=None,
    table=TABLE,
    contention=True,
    background=True,
    careful=True,
    device="cuda:1",
)


def test_it_reads_as_the_same() -> None:
    assert Job.from_json(JOB.to_json()) == JOB


@pytest.mark.parametrize(("data", "error"), [(b"{}", KeyError), (b"x", ValueError), (b"[]", TypeError)])
def test_something_else_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        Job.from_json(data)


def test_a_damaged_manifest_is_refused() -> None:
    with pytest.raises(BadManifest):
        Job.from_json(JOB.to_json().replace(b"schedulerd-model/1", b"schedulerd-model/0"))
