"""What the daemon builds for remote operators: keys from files, refused with the remedy, and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from schedulerd.clock import SystemClock
from schedulerd.config_remote import RemoteConfig
from schedulerd.errors import ConfigError
from schedulerd.remote import RemoteAccess, operators_of
from schedulerd.serving.operators import Operators
from tests.serving.remotes import ANNA, BOB, SERVER, key_files


@pytest.fixture
def config(tmp_path: Path) -> RemoteConfig:
    """Keys of a daemon, and of anna, who is in control."""
    secret = key_files(tmp_path, {"remote": SERVER})["remote"].secret
    key_files(tmp_path / "operators", {"anna": ANNA})
    (tmp_path / "operators" / "anna.secret").unlink()
    return RemoteConfig("127.0.0.1:0", secret, tmp_path / "operators", frozenset({"anna"}))


def test_each_public_file_is_an_operator_by_its_name(config: RemoteConfig) -> None:
    (config.operators / "README").write_text("whose keys these are")
    (config.operators / ".bob.public").write_text("half written")
    assert operators_of(config) == Operators({ANNA.public: "anna"}, frozenset({"anna"}))


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("bob.public", "", "bob.public has no line public-key"),
        ("bob b.public", f"public-key = {BOB.public}", "is no name for a key"),
        ("bob.public", f"public-key = {ANNA.public}", r"bob\.public has the key of anna once more"),
    ],
    ids=["empty", "unnamed", "twice"],  # keys are new in each process
)
def test_a_key_that_cannot_be_used_is_named(config: RemoteConfig, file: str, text: str, why: str) -> None:
    (config.operators / file).write_text(text)
    with pytest.raises(ConfigError, match=rf"\[remote\] operators: .*{why}"):
        operators_of(config)


def test_a_folder_that_is_not_there_is_told(config: RemoteConfig) -> None:
    with pytest.raises(ConfigError, match=r"there is no folder .*/nowhere; make it"):
        operators_of(replace(config, operators=config.operators / "nowhere"))


def test_no_door_is_opened_with_a_secret_that_others_may_read(config: RemoteConfig) -> None:
    config.secret_key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"\[remote\] secret_key: .* has mode 0644.*chmod 600"):
        RemoteAccess(config, "127.0.0.1:0", SystemClock())
    with pytest.raises(ConfigError, match="there is no key file"):
        RemoteAccess(replace(config, secret_key=config.operators / "x"), "127.0.0.1:0", SystemClock())


def test_a_credential_of_systemd_is_its_to_guard(
    config: RemoteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows the file to the service's user by an access list, which looks like a mode of 0440."""
    config.secret_key.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    RemoteAccess(config, "127.0.0.1:0", SystemClock()).close()


def test_what_was_read_takes_effect_when_it_is_let_and_a_bad_key_changes_nothing(
    config: RemoteConfig, tmp_path: Path
) -> None:
    runtime = tmp_path / "r"
    runtime.mkdir()
    access = RemoteAccess(config, "127.0.0.1:0", SystemClock())
    with structlog.testing.capture_logs() as logs:
        access.port(runtime)
        access.serve(lambda *_: None)
        (config.operators / "bob.public").write_text(f"public-key = {BOB.public}")
        access.read_again(config)
        access.admit()
        access.admit()
        (config.operators / "carl.public").write_text("")
        with pytest.raises(ConfigError, match=r"carl\.public"):
            access.read_again(config)
        access.admit()
        access.close()
    assert [log["operators"] for log in logs if log["event"] == "remote_operators"] == [["anna", "bob"]]


def test_a_door_that_nobody_may_use_is_told(config: RemoteConfig, tmp_path: Path) -> None:
    (config.operators / "anna.public").unlink()
    runtime = tmp_path / "r"
    runtime.mkdir()
    access = RemoteAccess(config, "127.0.0.1:0", SystemClock())
    with structlog.testing.capture_logs() as logs:
        access.port(runtime)
        access.serve(lambda *_: None)
        access.close()
    events = {log["event"]: log for log in logs}
    assert "NAME.public" in events["remote_nobody"]["remedy"]
    assert events["remote_control_without_key"]["operators"] == ["anna"]
