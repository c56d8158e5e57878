"""Tables of other boards: kept with their device and date, used where nothing better is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from blockprofiles.device import Device
from blockprofiles.errors import BadTable
from blockprofiles.foreign import UNCERTAINTY, import_table, imported_tables, origin, with_foreign
from blockprofiles.record import FOREIGN, MEASURED, PREDICTED, Row
from blockprofiles.table import Table

HERE = Device("Cortex-A76", "aarch64", 4, None, 2**32, "scripted", "1.0", 2)
SIBLING = replace(HERE, cores=2, threads=1)
SERVER = replace(HERE, cpu_model="EPYC", machine="x86_64", engine_version="0.9")


def row(
    digest: str, latency_ms: float = 1.0, threads: int = 1, source: str = MEASURED, engine: str = "scripted"
) -> Row:
    return Row(
        digest, engine, threads, latency_ms, 2 * latency_ms, 1000, (latency_ms,), source=source, clock_mhz=2400.0
    )


def table(device: Device, *rows: Row) -> Table:
    return Table(device, rows, "2026-01-01T00:00:00+00:00")


def exported(folder: Path, device: Device, *rows: Row) -> Path:
    path = folder / f"{device.cpu_model}-{device.cores}.json"
    table(device, *rows).save(path)
    return path


def test_rows_are_used_where_nothing_is_known(tmp_path: Path) -> None:
    """Measured and predicted ones stand; the foreign one is marked, with this device's threads."""
    other = exported(tmp_path, SERVER, row("a"), row("b"), row("c", 3.0))
    import_table(other, tmp_path / "profiles", HERE)
    mine = table(HERE, row("a", 9.0, threads=2), row("b", 8.0, threads=2, source=PREDICTED))
    found = with_foreign(mine, imported_tables(tmp_path / "profiles", HERE), ("a", "b", "c", "d"))
    assert {r.digest: (r.latency_ms, r.source) for r in found.rows} == {
        "a": (9.0, MEASURED),
        "b": (8.0, PREDICTED),
        "c": (3.0, FOREIGN),
    }
    foreign = found.row("c")
    assert (foreign.threads, foreign.uncertainty, foreign.samples_ms, foreign.clock_mhz) == (2, UNCERTAINTY, (), None)
    assert found.unfinished(("a", "c")) == ("c",)


def test_device_and_date_stay_known(tmp_path: Path) -> None:
    import_table(exported(tmp_path, SERVER, row("a")), tmp_path, HERE)
    where = origin("a", imported_tables(tmp_path, HERE), HERE)
    assert where is not None
    assert (where.device, where.measured_at) == (SERVER, "2026-01-01T00:00:00+00:00")
    assert origin("b", imported_tables(tmp_path, HERE), HERE) is None


def test_a_board_like_this_one_is_asked_first(tmp_path: Path) -> None:
    for device, latency_ms in ((SERVER, 1.0), (SIBLING, 5.0)):
        import_table(exported(tmp_path, device, row("a", latency_ms)), tmp_path, HERE)
    found = with_foreign(table(HERE), imported_tables(tmp_path, HERE), ("a",))
    assert found.row("a").latency_ms == 5.0


def test_importing_again_replaces_what_was_imported(tmp_path: Path) -> None:
    for latency_ms in (1.0, 2.0):
        import_table(exported(tmp_path, SERVER, row("a", latency_ms)), tmp_path, HERE)
    (only,) = imported_tables(tmp_path, HERE)
    assert only.row("a").latency_ms == 2.0


@pytest.mark.parametrize(
    ("rows", "device", "reason"),
    [
        ((row("a", engine="torch"),), SERVER, "no measured row for scripted.*its rows: torch"),
        ((), SERVER, "its rows: none"),
        ((row("a", source=PREDICTED),), SERVER, "no measured row"),
        ((row("a"),), HERE, "this very device"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, rows: tuple[Row, ...], device: Device, reason: str) -> None:
    with pytest.raises(BadTable, match=reason):
        import_table(exported(tmp_path, device, *rows), tmp_path / "profiles", HERE)
    assert imported_tables(tmp_path / "profiles", HERE) == ()


def test_a_table_of_another_format_is_refused(tmp_path: Path) -> None:
    path = exported(tmp_path, SERVER, row("a"))
    path.write_bytes(path.read_bytes().replace(b"schedulerd-profile/2", b"schedulerd-profile/1"))
    with pytest.raises(BadTable, match=r"schedulerd-profile/1.*reads.*schedulerd-profile/2"):
        import_table(path, tmp_path / "profiles", HERE)


def test_a_damaged_imported_table_is_skipped(tmp_path: Path) -> None:
    kept = import_table(exported(tmp_path, SERVER, row("a")), tmp_path, HERE)
    kept.path.write_bytes(b"damage")
    with capture_logs() as logs:
        assert imported_tables(tmp_path, HERE) == ()
    assert [log["event"] for log in logs] == ["imported_profile_unreadable"]
