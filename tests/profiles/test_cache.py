"""Profiles on disk: a board is measured once, and again when it must be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from blockprofiles.cache import load_or_measure, table_path
from blockprofiles.device import Device
from blockprofiles.table import Table
from blockstore.block import Model
from tests.profiles.scripted import Clock, ScriptedEngine, engine_of, model_of

DEVICE = Device("Cortex-A76", "aarch64", 4, None, 2**32, "scripted", "1.0", 1)
NET = model_of(("a", "b"), ("c",))
SECONDS = {"a": 0.001, "b": 0.002, "c": 0.003, "d": 0.004}


def profile(
    folder: Path, *models: Model, engine: ScriptedEngine | None = None, device: Device = DEVICE, force: bool = False
) -> tuple[Table, ScriptedEngine]:
    """The profile from `folder`, and the engine that measured what it lacked."""
    engine = engine or engine_of(Clock(), SECONDS)
    table = load_or_measure(
        models or (NET,),
        engine,
        Path,
        cache_directory=folder,
        threads=1,
        now=engine.clock,
        device=device,
        force=force,
    )
    return table, engine


def test_the_second_start_measures_nothing(tmp_path: Path) -> None:
    """And finds the same table."""
    first, _ = profile(tmp_path / "profiles")
    second, engine = profile(tmp_path / "profiles")
    assert engine.loaded == []
    assert second == first
    assert first.row("c").latency_ms == pytest.approx(3.0)


def test_a_new_model_is_measured_alone(tmp_path: Path) -> None:
    """The rows there are stay as they were."""
    first, _ = profile(tmp_path)
    both, engine = profile(tmp_path, NET, model_of(("d",), name="new"))
    assert set(engine.loaded) == {"d"}
    assert both.row("a") == first.row("a")
    assert both.row("d").latency_ms == pytest.approx(4.0)
    assert Table.load(table_path(tmp_path, DEVICE)) == both


def test_what_is_lacking_gets_its_share_of_the_budget(tmp_path: Path) -> None:
    """One blob of four takes about a quarter of the ten seconds."""
    profile(tmp_path)
    engine = engine_of(Clock(), SECONDS)
    engine.blocks["d"].wobble = 0.9
    engine.blocks["d"].seconds = 0.05
    begin_s = engine.clock()
    profile(tmp_path, NET, model_of(("d",), name="new"), engine=engine)
    assert 2.4 < engine.clock() - begin_s < 2.7


def test_another_device_is_measured_anew_and_both_are_kept(tmp_path: Path) -> None:
    """A store may travel between boards, and a governor may be switched to and fro."""
    profile(tmp_path)
    faster = replace(DEVICE, governor="performance")
    table, engine = profile(tmp_path, device=faster)
    assert set(engine.loaded) == {"a", "b", "c"}
    assert table.device == faster
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_force_measures_what_is_known(tmp_path: Path) -> None:
    """After a change that the fingerprint does not show."""
    profile(tmp_path)
    slower = engine_of(Clock(), {digest: 2 * seconds for digest, seconds in SECONDS.items()})
    table, _ = profile(tmp_path, engine=slower, force=True)
    assert table.row("a").latency_ms == pytest.approx(2.0)
    assert Table.load(table_path(tmp_path, DEVICE)) == table


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\x00"])
def test_a_damaged_file_is_set_aside_and_made_again(tmp_path: Path, damage: bytes) -> None:
    """With a warning; what was in it is not lost."""
    profile(tmp_path)
    path = table_path(tmp_path, DEVICE)
    path.write_bytes(damage)
    with capture_logs() as logs:
        table, engine = profile(tmp_path)
    assert set(engine.loaded) == {"a", "b", "c"}
    assert Table.load(path) == table
    assert path.with_suffix(".damaged").read_bytes() == damage
    assert [(log["event"], log["log_level"]) for log in logs] == [("profile_set_aside", "warning")]


def test_the_table_of_another_device_under_this_name_is_set_aside(tmp_path: Path) -> None:
    """Somebody copied the file of another board."""
    profile(tmp_path, device=replace(DEVICE, cores=8))
    (copied,) = tmp_path.glob("*.json")
    copied.rename(table_path(tmp_path, DEVICE))
    table, engine = profile(tmp_path)
    assert engine.loaded
    assert table.device == DEVICE


def test_a_table_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    """The place of the folder is taken by a file."""
    (tmp_path / "profiles").write_text("in the way")
    with capture_logs() as logs:
        table, _ = profile(tmp_path / "profiles")
    assert table.row("a").latency_ms == pytest.approx(1.0)
    assert [log["event"] for log in logs] == ["profile_unreadable", "profile_not_kept"]


def test_a_board_that_was_busy_is_told(tmp_path: Path) -> None:
    """The times stand, with the remedy."""
    engine = engine_of(Clock(), SECONDS)
    for block in engine.blocks.values():
        block.wobble = 4.0
    with capture_logs() as logs:
        profile(tmp_path, engine=engine)
    assert [log["event"] for log in logs] == ["profile_disturbed"]
    assert "schedulerd profile --force" in logs[0]["remedy"]


def test_a_variant_that_fails_is_told_and_has_no_row(tmp_path: Path) -> None:
    """The rest is there; the next start tries again, for the blob may have been mended."""
    with capture_logs() as logs:
        table, _ = profile(tmp_path, model_of(("a", "rotten"), ("c",)))
    assert table.missing(["a", "rotten", "c"]) == ("rotten",)
    assert "variant pruned-1 is left out" in logs[0]["reason"]
    _, engine = profile(tmp_path, model_of(("a", "rotten"), ("c",)))
    assert "rotten" in engine.loaded
