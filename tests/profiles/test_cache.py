"""Profiles on disk: what is wrong with the file is said, and nobody is kept from serving by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from blockprofiles.cache import Cache, empty, joined
from blockprofiles.contention import Contention, Point, Slowdown
from blockprofiles.device import Device
from blockprofiles.record import FOREIGN, PREDICTED, Row
from blockprofiles.table import Table, Unusable

DEVICE = Device("Cortex-A76", "aarch64", 4, None, 2**32, "scripted", "1.0", 1)


def row(digest: str, samples: int = 1, **changes: object) -> Row:
    """A measured row."""
    measured = Row(digest, "scripted", 1, 1.0, 2.0, 1000, tuple(1.0 for _ in range(samples)))
    return replace(measured, **changes)  # type: ignore[arg-type]  # names of fields, which mypy cannot follow


def table(*rows: Row) -> Table:
    """A table of this device."""
    return Table(DEVICE, rows, "2026-01-01T00:00:00+00:00")


def saved(folder: Path, *rows: Row, device: Device = DEVICE) -> Path:
    """The file of a profile on disk."""
    cache = Cache(folder, device)
    cache.save(replace(table(*rows), device=device))
    return cache.path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved(tmp_path, row("a"))
    with capture_logs() as logs:
        assert Cache(tmp_path, DEVICE).load() == table(row("a"))
    assert logs == []


def test_a_device_that_was_never_measured_has_an_empty_table(tmp_path: Path) -> None:
    assert Cache(tmp_path / "none", DEVICE).load() == empty(DEVICE)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\x00", b"[" * 100_000])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: bytes) -> None:
    """With a warning; what was in it is not lost."""
    path = saved(tmp_path, row("a"))
    path.write_bytes(damage)
    with capture_logs() as logs:
        assert Cache(tmp_path, DEVICE).load() == empty(DEVICE)
    assert not path.exists()
    assert path.with_suffix(".damaged").read_bytes() == damage
    assert [(log["event"], log["log_level"]) for log in logs] == [("profile_set_aside", "warning")]


def test_the_table_of_another_device_under_this_name_is_set_aside(tmp_path: Path) -> None:
    """Somebody copied the file of another board."""
    saved(tmp_path, row("a"), device=replace(DEVICE, cores=8)).rename(Cache(tmp_path, DEVICE).path)
    with capture_logs() as logs:
        assert Cache(tmp_path, DEVICE).load() == empty(DEVICE)
    assert "cores 8, here 4" in logs[0]["reason"]


def test_after_an_update_it_says_what_differs_and_what_to_do(tmp_path: Path) -> None:
    """The nearest of the tables that are there, which stay."""
    saved(tmp_path, row("a"), device=replace(DEVICE, engine_version="0.9", cores=8))
    before = saved(tmp_path, row("a"), device=replace(DEVICE, engine_version="0.9"))
    with capture_logs() as logs:
        assert Cache(tmp_path, DEVICE).load().rows == ()
    (log,) = logs
    assert (log["event"], log["differs"]) == ("profile_of_another_device", "engine_version '0.9', here '1.0'")
    assert log["file"] == str(before)
    assert "--import" in log["remedy"]
    assert before.exists()


def test_a_table_that_cannot_be_kept_is_told_once(tmp_path: Path) -> None:
    """The place of the folder is taken by a file."""
    (tmp_path / "profiles").write_text("in the way")
    cache = Cache(tmp_path / "profiles", DEVICE)
    with capture_logs() as logs:
        assert cache.load() == empty(DEVICE)
        cache.save(table(row("a")))
        cache.save(table(row("a"), row("b")))
    assert [log["event"] for log in logs] == ["profile_unreadable", "profile_not_kept"]
    assert str(tmp_path / "profiles") in logs[1]["remedy"]
    assert not cache.kept


def test_rows_that_another_process_saved_meanwhile_are_kept(tmp_path: Path) -> None:
    """A person measures while the daemon does so in the background."""
    first, second = Cache(tmp_path, DEVICE), Cache(tmp_path, DEVICE)
    first.load()
    second.load()
    second.save(table(row("a", samples=5), row("b")))
    first.save(table(row("a", samples=2), row("c")))
    found = Cache(tmp_path, DEVICE).load()
    assert {r.digest: len(r.samples_ms) for r in found.rows} == {"a": 5, "b": 1, "c": 1}


def test_what_nobody_else_has_changed_is_replaced(tmp_path: Path) -> None:
    """Measuring anew replaces long measurements by what was measured now."""
    cache = Cache(tmp_path, DEVICE)
    cache.save(table(row("a", samples=5)))
    cache.save(table(row("a", samples=2)))
    assert len(cache.load().row("a").samples_ms) == 2


def test_of_two_tables_the_better_known_rows_are_taken() -> None:
    predicted, partly = row("a", source=PREDICTED, samples_ms=()), row("b", samples=9, complete=False)
    mine = table(predicted, partly, row("f", source=FOREIGN), row("u"))
    theirs = replace(table(row("a"), row("b"), row("u")), unusable=(Unusable("u", "it hangs"),))
    curve = Contention(lanes=(Point(1.0, Slowdown()),))
    found = joined(mine, replace(theirs, contention=curve))
    assert set(found.rows) == {row("a"), row("b")}
    assert [u.digest for u in found.unusable] == ["u"]
    assert found.contention == curve
    longer = replace(curve, complete=True)
    assert joined(replace(mine, contention=curve), replace(theirs, contention=longer)).contention == longer
