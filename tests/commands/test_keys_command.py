"""`schedulerd keys`: the daemon's pair is made once, and shown with those of the operators."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.cli import main
from schedulerd.wire.keys import read_public, read_secret
from tests.serving.remotes import ANNA, BOB, key_files


def test_a_pair_is_made_once_and_what_to_do_next_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}/remote.secret  is the daemon's alone" in said
    assert f"mkdir -p {tmp_path}/operators" in said
    assert read_public(tmp_path / "remote.public")
    secret = read_secret(tmp_path / "remote.secret")
    assert secret not in said
    assert main(["keys", "new", "--folder", str(tmp_path)]) == 1
    assert "is there already and stays" in capsys.readouterr().err
    assert read_secret(tmp_path / "remote.secret") == secret


def test_keys_are_shown_with_their_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "show", "--folder", str(tmp_path)]) == 1
    assert "there is no key file" in capsys.readouterr().err
    main(["keys", "new", "--folder", str(tmp_path)])
    key_files(tmp_path / "operators", {"anna": ANNA})
    (tmp_path / "operators" / ".bob.public").write_text(f"public-key = {BOB.public}")
    capsys.readouterr()
    assert main(["keys", "show", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()] == [
        "KEY",
        read_public(tmp_path / "remote.public"),
        ANNA.public,
    ]
    assert ANNA.secret not in said
