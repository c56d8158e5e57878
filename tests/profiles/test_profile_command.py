"""`schedulerd profile` on a real store of tiny blocks."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blockprofiles.errors import BadTable
from blockprofiles.record import Row
from blockprofiles.table import Table
from blockstore.block import Model
from blockstore.errors import NotAStore
from blockstore.store import Store
from schedulerd.commands import profile
from schedulerd.commands.profile_output import conditions_text
from schedulerd.errors import ConfigError
from tests.profiles import tiny


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model in the store at `tmp_path / "store"`."""
    files = tiny.Files(tmp_path)
    return tiny.stored(tiny.tiny_model(files), files, tmp_path / "store")


def run(folder: Path, *options: str, effort: tuple[str, ...] = ("--quick",)) -> int:
    """The command's exit code, with store and state below `folder`."""
    parser = argparse.ArgumentParser()
    profile.add_parser(parser.add_subparsers())
    places = ("--store", str(folder / "store"), "--state", str(folder / "state"))
    args = parser.parse_args(["profile", *places, "--seconds", "1", "--threads", "1", *effort, *options])
    return int(args.run(args))


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON on standard output."""
    return json.loads(capsys.readouterr().out)


def test_prints_a_row_for_each_variant(tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    """And where the profile is kept."""
    assert run(tmp_path, effort=()) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["MODEL", "BLOCK", "VARIANT", "MS", "+-", "COLD", "MS", "P95", "MEMORY", "ON", "SOURCE"]
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["tiny", "0", "original"],
        ["tiny", "0", "pruned-1"],
        ["tiny", "1", "original"],
        ["tiny", "1", "pruned-1"],
    ]
    assert lines[1].split()[-3:] == ["onnxruntime", "x1", "measured"]
    (kept,) = (tmp_path / "state" / "profiles").iterdir()
    assert str(kept) in lines[-1]
    assert err.startswith("measuring on onnxruntime ")


def test_json_has_every_sample(tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs that draw or fit."""
    assert run(tmp_path, "--json", effort=()) == 0
    document = printed(capsys)
    assert {row["digest"] for row in document["rows"]} == model.digests()
    for row in document["rows"]:
        assert min(row["samples_ms"]) <= row["latency_ms"] <= row["latency_p95_ms"]
        assert row["memory_bytes"] > 0
    assert Path(document["file"]).stem == document["fingerprint"]


def test_batches_have_rows_of_their_own(tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside those of single frames, which plans are made of."""
    assert run(tmp_path, "--batch", "3", "--json", effort=()) == 0
    rows = printed(capsys)["rows"]
    assert [row["batch"] for row in rows] == [1, 3] * 4
    single, three = rows[:2]
    assert single["digest"] == three["digest"]
    run(tmp_path, effort=())
    assert "original x 3 frames" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--quick measures single frames only"):
        run(tmp_path, "--batch", "3")


def test_the_second_time_nothing_is_measured_unless_forced(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cached profile is shown as it is."""
    run(tmp_path, "--json")
    first = printed(capsys)
    run(tmp_path, "--json")
    out, err = capsys.readouterr()
    assert json.loads(out) == first
    assert err == ""
    run(tmp_path, "--json", "--force")
    assert printed(capsys)["rows"] != first["rows"]


def test_exits_have_rows_after_those_of_their_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the block after which they stand."""
    files = tiny.Files(tmp_path)
    model = tiny.model_with_exits(files)
    with Store.open(tmp_path / "store", create=True) as store:
        for digest in model.digests():
            store.put_blob(files.path(digest).read_bytes())
        store.put_model(model)
    assert run(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[7:9]] == [["exiting", str(n), "exit", f"exit{n + 1}"] for n in (0, 1)]
    assert run(tmp_path, "--json") == 0
    rows = printed(capsys)["rows"]
    assert [(row["variant"], row["exit"]) for row in rows[5:]] == [("pruned-1", None), (None, "exit1"), (None, "exit2")]
    assert all(row["source"] for row in rows)


def test_a_damaged_blob_is_shown_without_figures_and_fails(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other variants are measured."""
    digest = model.blocks[0].variants[1].artifacts[0].digest
    with Store.open(tmp_path / "store") as store:
        blob = store.path(digest)
    blob.unlink()
    blob.write_bytes(b"damage")
    assert run(tmp_path) == 1
    out, err = capsys.readouterr()
    assert "blob_not_measured" in err
    lines = out.splitlines()
    assert lines[2].split() == ["tiny", "0", "pruned-1", *"------", "unknown"]
    assert "-" not in lines[1].split()


def test_a_variant_that_cannot_run_is_named_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the command fails, though the rest is measured."""
    files = tiny.Files(tmp_path)
    bad = [files.put(tiny.head(16)), files.put(b"no graph")]
    stem = (tiny.FRAME, tiny.FEATURES, [files.put(tiny.stem(4))])
    odd = tiny.model_of("odd", {"stem": stem, "head": (tiny.FEATURES, tiny.LOGITS, bad)})
    tiny.stored(odd, files, tmp_path / "store")
    assert run(tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["odd", "1", "pruned-1", *"------", "unusable"]
    assert lines[5].startswith("odd block 1 pruned-1 is not used: ")


def test_what_was_predicted_says_so_and_is_measured_later(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """With how uncertain it is, and that there is more to measure."""
    assert run(tmp_path) == 0
    out, _ = capsys.readouterr()
    assert any(line.endswith("predicted") for line in out.splitlines())
    assert "run it again" in out
    assert run(tmp_path, effort=()) == 0
    out, _ = capsys.readouterr()
    assert not any(line.endswith("predicted") for line in out.splitlines())


def test_an_exported_profile_is_imported_by_another_board(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another thread count makes this board another device; where its rows come from is said."""
    assert run(tmp_path, "--export", str(tmp_path / "board.json"), effort=("--seconds", "0.5")) == 0
    there = Table.load(tmp_path / "board.json")
    capsys.readouterr()
    assert run(tmp_path, "--threads", "2", "--import", str(tmp_path / "board.json")) == 0
    assert capsys.readouterr().out.startswith(f"4 rows of {there.device.cpu_model} with onnxruntime ")
    blob = there.rows[0].digest
    with Store.open(tmp_path / "store") as store:
        store.path(blob).unlink()
    assert run(tmp_path, "--threads", "2", effort=()) == 0
    out, _ = capsys.readouterr()
    assert sum(line.endswith("foreign") for line in out.splitlines()) == 1
    assert f"foreign: {there.device.cpu_model}" in out
    assert there.measured_at in out


def test_a_file_that_is_no_profile_is_not_imported(tmp_path: Path, model: Model) -> None:
    """The command line prints the message and exits 1."""
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(BadTable, match=r"other\.json: not a profile table"):
        run(tmp_path, "--import", str(tmp_path / "other.json"))


def test_it_says_under_what_conditions_it_was_measured() -> None:
    """As far as the kernel tells."""
    row = Row("a", "scripted", 1, 1.0, 2.0, 1000)
    assert conditions_text([row]) == ""
    rows = [replace(row, clock_mhz=mhz, temperature_c=50.0, others=0.03) for mhz in (1500.0, 1800.0)]
    assert conditions_text(rows) == "clock 1500 to 1800 MHz, up to 50 degrees C, other programs had 3% of the cores"


def test_a_profile_that_could_not_be_kept_says_so(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is printed all the same."""
    (tmp_path / "state").write_text("in the way")
    assert run(tmp_path) == 0
    out, err = capsys.readouterr()
    assert "not kept" in out
    assert "profile_not_kept" in err


def test_models_that_were_added_are_measured_too(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here a model of the same blobs, for which no measuring is needed."""
    with Store.open(tmp_path / "store") as store:
        store.put_model(replace(model, name="twin"))
    assert run(tmp_path, "--json") == 0
    rows = printed(capsys)["rows"]
    assert [row["latency_ms"] for row in rows[:4]] == [row["latency_ms"] for row in rows[4:]]


def test_without_a_store_it_says_how_to_get_one(tmp_path: Path) -> None:
    """The command line prints the message and exits 1."""
    with pytest.raises(NotAStore, match="schedulerd build"):
        run(tmp_path)


@pytest.mark.parametrize("option", [("--seconds", "nan"), ("--seconds", "0"), ("--threads", "0")])
def test_impossible_options_are_refused(
    tmp_path: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With what was given and what is legal."""
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, *option)
    assert "give " in capsys.readouterr().err
