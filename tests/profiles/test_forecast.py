"""Rows of blobs that were not measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blockprofiles.forecast import predicted_rows
from blockprofiles.record import FOREIGN, PREDICTED, Row
from blockprofiles.table import Table
from blockstore.block import Artifact, Model
from tests.profiles.scripted import model_of
from tests.profiles.test_regression import SPATIAL, convolution, law_ms
from tests.profiles.test_table import DEVICE

ENGINE = "scripted"
CHANNELS = {f"v{channels}": channels for channels in range(8, 104, 8)}
OPERATORS = {digest: (convolution(SPATIAL, channels),) for digest, channels in CHANNELS.items()}
UNKNOWN = ("v40", "v72")
MODEL = model_of(tuple(CHANNELS))


def row(digest: str) -> Row:
    """A row that follows the law: cold runs take half as long again, memory is 50 KB and the weights."""
    latency_ms = law_ms(OPERATORS[digest])
    return Row(
        digest,
        ENGINE,
        2,
        latency_ms,
        1.8 * latency_ms,
        50_000 + OPERATORS[digest][0].weight_bytes,
        cold_ms=1.5 * latency_ms,
        arena_bytes=2 * OPERATORS[digest][0].moved_bytes,
    )


ROWS = tuple(row(digest) for digest in CHANNELS if digest not in UNKNOWN)


def test_what_was_not_measured_has_a_row_with_all_that_was_measured_of_others() -> None:
    found = {r.digest: r for r in predicted_rows([MODEL], ROWS, OPERATORS, ENGINE, 2)}
    assert set(found) == set(UNKNOWN)
    for digest, predicted in found.items():
        truth = row(digest)
        assert (predicted.engine, predicted.threads, predicted.source) == (ENGINE, 2, PREDICTED)
        assert predicted.latency_ms == pytest.approx(truth.latency_ms, rel=0.1)
        assert predicted.cold_ms == pytest.approx(truth.cold_ms, rel=0.1)
        assert predicted.latency_p95_ms == pytest.approx(truth.latency_p95_ms, rel=0.15)
        assert predicted.memory_bytes == pytest.approx(truth.memory_bytes, rel=0.1)
        assert predicted.arena_bytes == pytest.approx(truth.arena_bytes, rel=0.1)
        assert abs(truth.latency_ms / predicted.latency_ms - 1) <= predicted.uncertainty < 1


def test_predicted_rows_are_still_to_be_measured() -> None:
    predicted = predicted_rows([MODEL], ROWS, OPERATORS, ENGINE, 2)
    assert all(not r.complete and not r.samples_ms for r in predicted)


def test_predicted_rows_are_those_of_a_table() -> None:
    table = Table(DEVICE, predicted_rows([MODEL], ROWS, OPERATORS, ENGINE, 2), "2026-01-01T00:00:00+00:00")
    assert Table.from_json(table.to_json()) == table


def test_nothing_is_predicted_from_rows_of_other_threads_engines_devices_or_predictions() -> None:
    others = [replace(r, threads=1) for r in ROWS] + [replace(r, source=FOREIGN) for r in ROWS]
    others += [replace(r, source=PREDICTED) for r in ROWS] + [replace(r, engine="torch") for r in ROWS]
    others += [replace(r, batch=4) for r in ROWS]
    assert predicted_rows([MODEL], others, OPERATORS, ENGINE, 2) == ()


def test_without_cold_runs_none_are_predicted() -> None:
    rows = [replace(r, cold_ms=None, arena_bytes=0) for r in ROWS]
    predicted = predicted_rows([MODEL], rows, OPERATORS, ENGINE, 2)
    assert {(r.cold_ms, r.arena_bytes) for r in predicted} == {(None, 0)}


def sized(model: Model) -> Model:
    """`model` whose manifest tells the work of each variant."""
    (block,) = model.blocks
    variants = tuple(
        replace(
            v,
            multiply_adds=OPERATORS[v.artifacts[0].digest][0].multiply_adds,
            artifacts=(Artifact(ENGINE, v.artifacts[0].digest, OPERATORS[v.artifacts[0].digest][0].weight_bytes),),
        )
        for v in block.variants
    )
    return replace(model, blocks=(replace(block, variants=variants),))


def test_blobs_that_cannot_be_read_are_predicted_from_their_manifest() -> None:
    found = {r.digest: r for r in predicted_rows([sized(MODEL)], ROWS, {}, ENGINE, 2)}
    for digest in UNKNOWN:
        assert found[digest].latency_ms == pytest.approx(row(digest).latency_ms, rel=0.2)


def test_a_single_blob_that_cannot_be_read_does_not_spoil_the_others() -> None:
    readable = {digest: kernels for digest, kernels in OPERATORS.items() if digest != "v40"}
    found = {r.digest: r for r in predicted_rows([sized(MODEL)], ROWS, readable, ENGINE, 2)}
    assert found["v40"].latency_ms == pytest.approx(row("v40").latency_ms, rel=0.2)
    assert found["v72"] == {r.digest: r for r in predicted_rows([sized(MODEL)], ROWS, OPERATORS, ENGINE, 2)}["v72"]


def test_everything_measured_leaves_nothing_to_predict() -> None:
    assert predicted_rows([MODEL], [row(digest) for digest in CHANNELS], OPERATORS, ENGINE, 2) == ()
