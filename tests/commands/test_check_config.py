"""`schedulerd check-config`: what people and programs read, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schedulerd import cli


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "conf.d").mkdir()
    path = tmp_path / "schedulerd.toml"
    path.write_text('[limits]\nmemory = "80MB"\nutilisation = 0.7\n')
    return path


def test_what_is_set_is_shown_with_the_file_that_sets_it(main: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (main.parent / "conf.d" / "10.toml").write_text("[limits]\nutilisation = 0.5")
    assert cli.main(["check-config", str(main)]) == 0
    first, heading, *rows = capsys.readouterr().out.splitlines()
    assert first == f"nothing is wrong; read: {main}, {main.parent}/conf.d/10.toml"
    assert heading.split() == ["FILE", "KEY", "VALUE", "INSTEAD", "OF", "THAT", "OF"]
    assert [row.split() for row in rows] == [
        [str(main), "[limits]", "memory", '"80MB"', "-"],
        [f"{main.parent}/conf.d/10.toml", "[limits]", "utilisation", "0.5", str(main)],
    ]


def test_every_mistake_is_a_line_with_file_key_value_and_range(main: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.write_text('[limits]\nutilisation = 7\nutilization = 0.5\nmemory = "80"')
    (main.parent / "conf.d" / "10.toml").write_text("[limits")
    assert cli.main(["check-config", str(main)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{main}: [limits] utilisation = 7: 7 is out of range: it takes a number from 0.05 to 1"
    assert f"{main}: [limits] utilization = 0.5: [limits] has no key 'utilization'" in lines[1]
    assert 'did you mean "utilisation"?' in lines[1]
    assert lines[2].endswith('; it takes a size such as "80MB" or "64MiB", or "auto"')
    assert lines[3].startswith(f"{main.parent}/conf.d/10.toml: is not TOML: ")
    assert lines[4:] == ["4 mistakes in 2 files"]


def test_a_program_reads_the_same_as_json(main: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.write_text("[limits]\nqueue_length = 8\nutilisation = 7")
    assert cli.main(["check-config", "--json", str(main)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["given"] == [
        {"section": "limits", "key": "queue_length", "value": "8", "file": str(main), "instead_of": []}
    ]
    (mistake,) = told["mistakes"]
    assert (mistake["key"], mistake["value"], mistake["allowed"]) == ("utilisation", "7", "a number from 0.05 to 1")


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-config", str(tmp_path / "absent.toml")]) == 1
    assert "absent.toml: there is no such file" in capsys.readouterr().out


def test_an_empty_file_says_that_everything_is_at_its_default(main: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.write_text("")
    assert cli.main(["check-config", str(main)]) == 0
    assert "every key has its default" in capsys.readouterr().out


def test_names_cannot_steer_a_terminal(main: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.write_text('["lim\\u001b[2Jits"]\nmemory = 1')
    assert cli.main(["check-config", str(main)]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_two_files_are_wrong_usage(main: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["check-config", str(main), str(main)])
