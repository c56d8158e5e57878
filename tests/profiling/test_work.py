"""What a profile still has to measure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockprofiles.contention import Contention, Point, Slowdown
from blockprofiles.device import Device
from blockprofiles.effort import QUICK, STANDARD, THOROUGH
from blockprofiles.record import PREDICTED, Row
from blockprofiles.table import Table, Unusable
from blockstore.block import Artifact
from schedulerd.profiling.work import NOTHING, forgotten, opened, work_left
from tests.profiles.scripted import Clock, ScriptedEngine, model_of

MODEL = model_of(("a", "b"), exits={"h": (0,)})
CURVES = Contention(lanes=(Point(1.0, Slowdown()),), complete=True)
TABLE = Table(Device("A76", "aarch64", 4, None, 2**32, "scripted", "1.0", 2), (), "then", contention=CURVES)


def engine(threads: int, name: str = "scripted") -> ScriptedEngine:
    made = ScriptedEngine(Clock(), {}, name=name)
    made.threads = threads
    return made


def row(digest: str, threads: int = 2, uncertainty: float = 0.001, runs: int = 10, **changes: object) -> Row:
    times_ms = tuple(1.0 for _ in range(runs))
    made = Row(digest, "scripted", threads, 1.0, 2.0, 1000, times_ms, cold_samples_ms=times_ms, uncertainty=uncertainty)
    return replace(made, **changes)  # type: ignore[arg-type]  # names of fields, which mypy cannot follow


def table(*rows: Row) -> Table:
    return replace(TABLE, rows=rows)


def test_alternates_run_blocks_and_no_heads() -> None:
    """Only a longer effort measures them, each of the blobs that it has an artifact of."""
    engines = (engine(2), engine(1), engine(2, "torch"))
    everything = {("a", "scripted", 2, 1), ("b", "scripted", 2, 1), ("h", "scripted", 2, 1)}
    assert work_left(TABLE, (MODEL,), engines, QUICK).candidates == everything
    longer = work_left(TABLE, (MODEL,), engines, STANDARD).candidates
    assert longer == everything | {("a", "scripted", 1, 1), ("b", "scripted", 1, 1)}
    first = MODEL.blocks[0].variants[0]
    both = replace(first, artifacts=(*first.artifacts, Artifact("torch", "t", 1)))
    with_torch = replace(MODEL, blocks=(replace(MODEL.blocks[0], variants=(both,)),))
    assert work_left(TABLE, (with_torch,), engines, STANDARD).digests == {"a", "t", "h"}


def test_batches_are_work_of_their_own_for_blocks_and_not_for_heads() -> None:
    """What single frames take is known."""
    known = table(*(row(digest) for digest in "abh"))
    assert not work_left(known, (MODEL,), (engine(2),), STANDARD).candidates
    left = work_left(known, (MODEL,), (engine(2),), STANDARD, batches=(1, 4)).candidates
    assert left == {("a", "scripted", 2, 4), ("b", "scripted", 2, 4)}
    assert not work_left(known, (MODEL,), (engine(2),), QUICK, batches=(1, 4))


def test_a_designed_effort_is_content_with_predictions() -> None:
    known = table(row("a"), row("b", source=PREDICTED), row("h", complete=False))
    assert work_left(known, (MODEL,), (engine(2),), QUICK) == NOTHING
    assert work_left(known, (MODEL,), (engine(2),), STANDARD).digests == {"b", "h"}


@pytest.mark.parametrize(
    ("known", "is_left"),
    [
        (row("a"), False),
        (row("a", uncertainty=0.004), False),
        (row("a", uncertainty=0.01), True),
        (row("a", uncertainty=0.01, runs=200), False),
        (row("a", batch=8), True),
        (row("a", threads=1), True),
    ],
)
def test_a_row_is_enough_when_it_is_as_certain_as_asked_or_was_measured_as_often(known: Row, is_left: bool) -> None:
    assert ("a" in work_left(table(known), (MODEL,), (engine(2),), STANDARD).digests) is is_left


def test_what_was_enough_for_one_effort_is_opened_for_another() -> None:
    """Its samples are gone on with."""
    known = table(row("a", uncertainty=0.004), row("b", uncertainty=0.001))
    assert opened(known, QUICK) == known
    assert [r.complete for r in opened(known, STANDARD).rows] == [True, True]
    a, b = opened(known, THOROUGH).rows
    assert (a.complete, b.complete) == (False, True)
    assert len(a.samples_ms) == 10


def test_what_cannot_be_used_is_no_work() -> None:
    known = replace(TABLE, unusable=(Unusable("b", "it hangs"),))
    for effort in (QUICK, STANDARD):
        assert work_left(known, (MODEL,), (engine(2),), effort).digests == {"a", "h"}


def test_curves_are_measured_along_and_by_a_longer_effort_for_themselves() -> None:
    known = replace(table(row("a"), row("b"), row("h")), contention=Contention())
    assert not work_left(known, (MODEL,), (engine(2),), QUICK)
    assert work_left(known, (MODEL,), (engine(2),), STANDARD).contention
    assert work_left(replace(known, rows=()), (MODEL,), (engine(2),), QUICK).contention
    hasty = replace(known, contention=replace(CURVES, complete=False))
    assert work_left(hasty, (MODEL,), (engine(2),), STANDARD).contention
    assert not work_left(replace(hasty, rows=()), (MODEL,), (engine(2),), QUICK).contention
    assert work_left(known, (), (engine(2),), STANDARD) == NOTHING


def test_everything_is_work_when_it_is_to_be_measured_again() -> None:
    known = replace(table(row("a"), row("b"), row("h", source=PREDICTED)), unusable=(Unusable("u", "it hangs"),))
    for effort in (QUICK, STANDARD):
        again = forgotten(known, effort)
        assert work_left(again, (MODEL,), (engine(2),), effort).digests == {"a", "b", "h"}
        assert (again.unusable, again.contention) == ((), Contention())
    assert [r.digest for r in forgotten(known, STANDARD).rows] == ["a", "b"]
