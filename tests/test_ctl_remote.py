"""`schedctl --connect` and `schedctl keys`: which daemon and which keys are meant, and how it ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from schedulerd.ctl import main
from tests.serving.remotes import ANNA, BOB, EVE, SERVER, RemoteBoard, key_files

CONNECT = "SCHEDULERD_CONNECT"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a user who has no keys yet, and no settings in the environment."""
    for name in (CONNECT, "SCHEDULERD_KEY", "SCHEDULERD_SERVER_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "schedulerd"


@pytest.fixture(autouse=True)
def no_logs() -> None:
    """The daemon's part is in this process, and what schedctl prints is looked at."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())


@pytest.fixture
def board() -> Iterator[RemoteBoard]:
    with tempfile.TemporaryDirectory(prefix="sd-") as runtime, RemoteBoard(Path(runtime)) as made:
        yield made


def ready(home: Path) -> None:
    """Anna has her key, and the board's."""
    key_files(home / "keys", {"anna": ANNA})
    key_files(home / "servers", {"127.0.0.1": SERVER})


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_keys_in_their_places_need_not_be_named(
    board: RemoteBoard, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ready(home)
    address = board.control.removeprefix("tcp://")
    assert run(capsys, "--connect", address, "--json", "objective")[:2] == (0, '{\n  "asked": "Objective"\n}\n')
    assert run(capsys, "objective", "--json", "--connect", board.control)[0] == 0


def test_the_environment_says_it_as_well_and_options_count_more(
    board: RemoteBoard, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = key_files(tmp_path, {"bob": BOB, "eve": EVE, "server": SERVER})
    monkeypatch.setenv(CONNECT, board.control)
    monkeypatch.setenv("SCHEDULERD_KEY", str(files["bob"].secret))
    monkeypatch.setenv("SCHEDULERD_SERVER_KEY", str(files["server"].public))
    assert run(capsys, "objective", "--json")[0] == 0
    code, _, error = run(capsys, "reload")
    assert code == 1
    assert "'bob' may look, and change nothing" in error
    code, _, error = run(capsys, "objective", "--key", str(files["eve"].secret))
    assert code == 1
    assert "does not let this key in" in error
    code, _, error = run(capsys, "objective", "--server-key", str(files["eve"].public))
    assert code == 3
    assert "ended the handshake" in error
    assert "--runtime" not in error


def test_a_runtime_directory_is_this_machine_whatever_the_environment_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CONNECT, "elsewhere")
    code, _, error = run(capsys, "status", "--runtime", str(tmp_path))
    assert code == 3
    assert "no daemon at ipc://" in error
    code, _, error = run(capsys, "status", "--runtime", str(tmp_path), "--connect", "elsewhere")
    assert (code, "give one of them" in error) == (2, True)


def test_what_is_missing_is_told_with_the_remedy(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, "status", "--connect", "127.0.0.1:1")
    assert code == 2
    assert f"copy its /etc/schedulerd/remote.public to {home}/servers/127.0.0.1.public" in error
    key_files(home / "servers", {"127.0.0.1": SERVER})
    code, _, error = run(capsys, "status", "--connect", "127.0.0.1:1")
    assert (code, "make one with `schedctl keys new NAME`" in error) == (2, True)
    files = key_files(home / "keys", {"anna": ANNA, "bob": BOB})
    code, _, error = run(capsys, "status", "--connect", "127.0.0.1:1")
    assert (code, "(anna.secret, bob.secret); say which by --key FILE" in error) == (2, True)
    files["bob"].secret.unlink()
    files["anna"].secret.chmod(0o644)
    code, _, error = run(capsys, "status", "--connect", "127.0.0.1:1")
    assert (code, "chmod 600" in error) == (2, True)
    files["anna"].secret.chmod(0o600)
    code, _, error = run(capsys, "status", "--connect", "127.0.0.1:1")
    assert (code, "no daemon at tcp://127.0.0.1:1" in error) == (3, True)
    code, _, error = run(capsys, "status", "--connect", "http://127.0.0.1")
    assert (code, "is no address of a daemon" in error) == (2, True)


def test_keys_are_made_once_and_what_to_do_next_is_told(
    board: RemoteBoard, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, _ = run(capsys, "keys", "new", "anna")
    assert code == 0
    assert f"{home}/keys/anna.secret  is yours alone" in said
    assert "cp anna.public /etc/schedulerd/operators/" in said
    assert f"cp remote.public {home}/servers/HOST.public" in said
    assert (home / "keys" / "anna.secret").stat().st_mode & 0o777 == 0o600
    before = (home / "keys" / "anna.secret").read_text()
    code, _, error = run(capsys, "keys", "new", "anna")
    assert (code, "is there already and stays" in error) == (1, True)
    assert (home / "keys" / "anna.secret").read_text() == before
    key_files(home / "servers", {"127.0.0.1": SERVER})
    code, _, error = run(capsys, "--connect", board.control, "status")
    assert (code, "does not let this key in" in error) == (1, True)


def test_keys_go_where_they_are_wanted(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "keys", "new", "anna", "--folder", str(tmp_path / "here"))[0] == 0
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["anna.public", "anna.secret"]
    assert not home.exists()
    code, _, error = run(capsys, "keys", "new", "../anna")
    assert (code, "is no name for a key" in error) == (1, True)
