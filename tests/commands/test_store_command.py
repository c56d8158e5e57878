"""`schedulerd store`: what people and programs read, and the exit codes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blockstore.errors import BadArchive, MissingModel, NotAStore
from blockstore.store import Store
from schedulerd.commands import store as command
from schedulerd.commands.tables import RESTART_NOTE, count_text, table
from schedulerd.sizes import size_text
from tests.blockstore.samples import blob_file, flip_byte, put_sample, put_sample_with_exits, quick_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder in memory."""
    with quick_folder() as made:
        yield made


@pytest.fixture
def root(folder: Path) -> Path:
    """A store with two models that share their blobs."""
    with Store.open(folder / "store", create=True) as opened:
        put_sample(opened, "alpha", engines=("onnxruntime", "torch"))
        put_sample(opened, "beta")
    return folder / "store"


class _Shell:
    """Runs the command as `schedulerd` does, on one store."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._root = root
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        command.add_parser(parser.add_subparsers())
        chosen = parser.parse_args(["store", *arguments, "--store", str(self._root)])
        self._capsys.readouterr()
        code = chosen.run(chosen)
        return code, self._capsys.readouterr().out

    def json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, out = self.run(*arguments, "--json")
        return code, json.loads(out)


@pytest.fixture
def shell(root: Path, capsys: pytest.CaptureFixture[str]) -> _Shell:
    """The command on the store of two models."""
    return _Shell(root, capsys)


def test_ls_lists_models_in_columns_and_counts_equal_blobs_once(shell: _Shell) -> None:
    """Every line of the table begins its columns where the header does."""
    code, out = shell.run("ls")
    header, first, second, _, total = out.splitlines()
    assert code == 0
    assert first.split() == [*("alpha", "uint8[8x8x1]", "2", "4", "0", "0.9000", "216", "B", "whole")]
    assert first.index("whole") == second.index("whole") == header.index("STATE")
    assert total == "2 models, 8 blobs, 216 B (equal blobs counted once)"


def test_ls_of_an_empty_store_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not an empty table."""
    Store.open(folder / "empty", create=True).close()
    assert _Shell(folder / "empty", capsys).run("ls") == (0, "no models\n")


def test_ls_survives_damage_and_shows_it(shell: _Shell, root: Path) -> None:
    """A lost blob and a lost manifest, each on the line of its model."""
    with Store.open(root) as store:
        blob_file(store, store.model("alpha").blocks[0].variants[0].artifacts[1].digest).unlink()
        manifest = next(p for p in (root / "blobs").rglob("*") if p.is_file() and b'"beta"' in p.read_bytes())
        flip_byte(manifest)
    code, listed = shell.json("ls")
    assert code == 0
    assert [model["state"][:14] for model in listed["models"]] == ["1 blob missing", "damaged: blob "]
    assert listed["quarantined"] == [f"{manifest.name}.0"]
    _, out = shell.run("ls")
    assert "1 damaged blob in quarantine" in out


def test_show_gives_every_variant_of_every_block(shell: _Shell, root: Path) -> None:
    """With the engines that can run it; an artifact that is lost is marked."""
    with Store.open(root) as store:
        lost = store.model("alpha").blocks[1].variants[1].artifacts[1].digest
        blob_file(store, lost).unlink()
    code, out = shell.run("show", "alpha")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "alpha: uint8[8x8x1] -> float32[10], accuracy 0.9000 on 100 images"
    assert "  built_at: 2026-01-01T00:00:00+00:00" in lines
    assert lines[-1].split() == [
        *("1", "head", "float32[10]", "pruned50", "pruned50", "+0.0100", "100", "1000"),
        *("onnxruntime", "30", "B,", "torch", "24", "B", "(missing)"),
    ]
    assert sum("original" in line for line in lines) == 2


def test_show_gives_exits_and_policies(shell: _Shell, root: Path) -> None:
    """With what a head takes, and how many frames leave where; a head that is lost is marked."""
    with Store.open(root) as store:
        model = put_sample_with_exits(store)
        blob_file(store, model.exits[0].artifacts[1].digest).unlink()
    _, out = shell.run("show", "exiting")
    *_, exits, policies = out.split("\n\n")
    assert [line.split()[:9] for line in exits.splitlines()] == [
        ["EXIT", "BLOCK", "TAKES", "METHOD", "CONFIDENCE", "TEMPERATURE", "PARAMETERS", "MULTIPLY-ADDS", "ARTIFACTS"],
        ["exit1", "0", "0", "mxn", "max_probability", "1.250", "500", "9000", "onnxruntime"],
        ["exit2", "1", "0,", "1", "mxn", "max_probability", "1.250", "500", "9000"],
    ]
    assert exits.splitlines()[1].endswith("onnxruntime 17 B, torch 11 B (missing)")
    assert policies.splitlines()[1].split() == ["only-exit1", "+0.0100", "75%", "25%", "exit1>=0.5", "final"]


def test_ls_counts_exits_and_their_heads(shell: _Shell, root: Path) -> None:
    """Three blobs of heads, of 45 bytes in all, beside those of the blocks."""
    with Store.open(root) as store:
        put_sample_with_exits(store)
    _, listed = shell.json("ls")
    (model,) = (m for m in listed["models"] if m["name"] == "exiting")
    assert (model["exits"], model["bytes"], listed["blobs"]) == (2, 216 + 45, 8 + 3)


def test_show_in_json_is_the_manifest(shell: _Shell, root: Path) -> None:
    """And what it lacks."""
    _, shown = shell.json("show", "beta")
    with Store.open(root) as store:
        assert shown == {**json.loads(store.model("beta").to_json()), "missing": []}


def test_show_of_an_unknown_model_raises(shell: _Shell) -> None:
    """The program prints the message and ends with 1."""
    with pytest.raises(MissingModel, match="alpha, beta"):
        shell.run("show", "gamma")


def test_verify_of_a_sound_store_ends_with_zero(shell: _Shell) -> None:
    """Eight artifacts and two manifests."""
    code, out = shell.run("verify")
    assert (code, out.splitlines()[-1]) == (0, "everything is sound")
    assert out.startswith("checked 10 blobs, ")


def test_verify_of_a_damaged_store_ends_with_one(shell: _Shell, root: Path) -> None:
    """And names model, block and variant, first in words, then in JSON, where it is missing by now."""
    with Store.open(root) as store:
        digest = store.model("beta").blocks[0].variants[1].artifacts[0].digest
        flip_byte(blob_file(store, digest))
    code, out = shell.run("verify")
    assert code == 1
    assert f"corrupt  {digest}" in out
    assert f"beta has lost block 0 (stem) variant pruned50 for onnxruntime ({digest[:12]})" in out
    code, found = shell.json("verify")
    assert (code, found["missing"], found["corrupt"], found["sound"]) == (1, [digest], [], False)


def test_damage_that_no_model_needs_is_called_that(shell: _Shell, root: Path) -> None:
    """It still ends with 1: the disk has lost bytes."""
    with Store.open(root) as store:
        flip_byte(blob_file(store, store.put_blob(b"unused")))
    code, out = shell.run("verify")
    assert (code, out.splitlines()[-1]) == (1, "no model needs what is damaged")


def test_gc_spares_young_blobs_unless_told(shell: _Shell, root: Path) -> None:
    """What it did is told in words and in JSON."""
    with Store.open(root) as store:
        store.put_blob(b"unused")
    assert shell.run("gc")[1].splitlines() == [
        "removed 0 blobs (0 B) and 0 unfinished files",
        "spared 1 young blob; --grace 0 removes them too",
    ]
    assert shell.json("gc", "--grace", "0") == (
        0,
        {"removed_blobs": 1, "removed_bytes": 6, "removed_partials": 0, "spared_blobs": 0},
    )


@pytest.mark.parametrize("grace", ["-1", "nan", "soon"])
def test_gc_refuses_a_grace_that_is_no_age(shell: _Shell, grace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage ends with 2."""
    with pytest.raises(SystemExit) as caught:
        shell.run("gc", f"--grace={grace}")
    assert caught.value.code == 2
    assert "--grace" in capsys.readouterr().err


def test_rebuild_index_tells_what_it_found(shell: _Shell, root: Path) -> None:
    """With a sound index as with one that opening has to make again; JSON stays alone on standard output."""
    assert shell.run("rebuild-index") == (0, "2 models among 10 blobs: alpha, beta\n")
    (root / "index.sqlite").unlink()
    code, found = shell.json("rebuild-index")
    assert (code, found["models"], found["reason"]) == (0, ["alpha", "beta"], "it was absent")


def test_models_travel_through_an_archive(shell: _Shell, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Import makes the store where there is none; importing again changes nothing."""
    archive = folder / "alpha.tar"
    code, done = shell.json("export", str(archive), "alpha", "--engine", "onnxruntime")
    assert (code, done) == (
        0,
        {"archive": str(archive), "models": ["alpha"], "bytes": archive.stat().st_size},
    )
    other = _Shell(folder / "board" / "store", capsys)
    assert other.run("import", str(archive)) == (0, f"added: alpha\n4 new blobs, 120 B\n{RESTART_NOTE}\n")
    assert other.run("import", str(archive)) == (0, "unchanged: alpha\n0 new blobs, 0 B\n")


def test_export_without_names_takes_all_models(shell: _Shell, folder: Path) -> None:
    """A whole store in one file."""
    assert shell.json("export", str(folder / "all.tar"))[1]["models"] == ["alpha", "beta"]


def test_what_is_wrong_is_raised_for_the_program_to_print(
    shell: _Shell, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No store, a bad archive, nothing to export."""
    with pytest.raises(NotAStore, match="store import"):
        _Shell(folder / "nowhere", capsys).run("ls")
    (folder / "bad.tar").write_bytes(b"not a tar file")
    with pytest.raises(BadArchive, match="export it again"):
        shell.run("import", str(folder / "bad.tar"))
    Store.open(folder / "empty", create=True).close()
    with pytest.raises(MissingModel, match="no models"):
        _Shell(folder / "empty", capsys).run("export", str(folder / "none.tar"))


def test_sizes_and_counts_read_naturally() -> None:
    """Decimal units, one digit behind the point, and a plural."""
    assert [size_text(n) for n in (0, 999, 1000, 999_949, 999_950, 5_250_000, 2_000_000_000)] == [
        *("0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "5.2 MB", "2.0 GB"),
    ]
    assert [count_text(n, "blob") for n in (0, 1, 2)] == ["0 blobs", "1 blob", "2 blobs"]


def test_tables_align_text_left_and_numbers_right() -> None:
    """No line ends in spaces."""
    assert table(("NAME", "SIZE"), [("a", "1 B"), ("long name", "10 kB")], numbers=("SIZE",)) == [
        "NAME        SIZE",
        "a            1 B",
        "long name  10 kB",
    ]
