"""The table of rows: lookup, merging, and what it does on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockprofiles.device import Device
from blockprofiles.errors import BadTable, ForeignTable, MissingRow
from blockprofiles.record import Row
from blockprofiles.table import Table

DEVICE = Device("Cortex-A76", "aarch64", 4, "schedutil", 2**32, "onnxruntime", "1.31.1", 1)
FIRST = Row("a" * 64, "onnxruntime", 1, 1.25, 1.5, 200_000, (1.0, 1.25, 1.5))
SECOND = Row("b" * 64, "onnxruntime", 1, 0.5, 0.75, 100_000, (0.5,))
TABLE = Table(DEVICE, (FIRST, SECOND), "2026-01-02T03:04:05+00:00")


def test_finds_rows_by_digest() -> None:
    """The whole row."""
    assert TABLE.row("b" * 64) is SECOND


def test_a_blob_without_a_row_is_named_with_the_remedy() -> None:
    """The message says what, where and how to mend it."""
    with pytest.raises(MissingRow, match=r"blob c{12} was never measured on Cortex-A76.*schedulerd profile"):
        TABLE.row("c" * 64)


def test_tells_which_blobs_lack_a_row_each_once() -> None:
    """Two variants may share a blob."""
    assert TABLE.missing(["d" * 64, "a" * 64, "c" * 64, "d" * 64]) == ("d" * 64, "c" * 64)


def test_merging_adds_rows_and_replaces_older_ones() -> None:
    """Models are added to a store later, and blobs are measured again."""
    newer, third = replace(FIRST, latency_ms=1.3), replace(SECOND, digest="c" * 64)
    merged = TABLE.merged([newer, third], "2026-02-02T00:00:00+00:00")
    assert merged.row("a" * 64) is newer
    assert merged.row("b" * 64) is SECOND
    assert merged.row("c" * 64) is third
    assert len(merged.rows) == 3
    assert merged.measured_at == "2026-02-02T00:00:00+00:00"


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    """Samples and all, in a folder that did not exist."""
    path = tmp_path / "profiles" / "board.json"
    TABLE.save(path)
    assert Table.load(path, DEVICE) == TABLE
    assert [p.name for p in path.parent.iterdir()] == ["board.json"]


def test_a_table_of_another_device_is_refused_with_the_difference(tmp_path: Path) -> None:
    """Unless any device's table will do."""
    TABLE.save(tmp_path / "t.json")
    here = replace(DEVICE, engine_version="1.32.0")
    with pytest.raises(ForeignTable, match=r"engine_version '1.31.1', here '1.32.0'"):
        Table.load(tmp_path / "t.json", here)
    assert Table.load(tmp_path / "t.json").device == DEVICE


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """No prefix of a table is a table."""
    data = TABLE.to_json()
    for length in range(0, len(data), 97):
        (tmp_path / "t.json").write_bytes(data[:length])
        with pytest.raises(BadTable, match=r"t\.json: not a profile table"):
            Table.load(tmp_path / "t.json")


def edited(**changes: Any) -> bytes:
    """The table's JSON with some top-level keys changed."""
    return json.dumps(json.loads(TABLE.to_json()) | changes).encode()


def row_with(**changes: Any) -> list[dict[str, Any]]:
    """Rows of one, with some keys changed."""
    return [json.loads(TABLE.to_json())["rows"][0] | changes]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (edited(format="schedulerd-profile/9"), "schedulerd-profile/9.*reads 'schedulerd-profile/2'"),
        (edited(fingerprint="0" * 16), "the table says 0000000000000000"),
        (edited(device={}), "KeyError: 'cpu_model'"),
        (edited(rows=row_with(latency_ms=0)), "not positive and finite"),
        (edited(rows=row_with(latency_ms=float("nan"))), "not positive and finite"),
        (edited(rows=row_with(latency_p95_ms=float("inf"))), "not positive and finite"),
        (edited(rows=row_with(latency_ms=9.0)), "not positive and finite"),
        (edited(rows=row_with(memory_bytes=0)), "not positive and finite"),
        (edited(rows=row_with(memory_bytes="much")), "ValueError"),
        (edited(rows=7), "TypeError"),
        (b"[]", "TypeError"),
        (b"\xff\xfe", "not a profile table"),
    ],
)
def test_other_formats_and_impossible_values_are_refused(data: bytes, reason: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(BadTable, match=reason):
        Table.from_json(data)
