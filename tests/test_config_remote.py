"""`[remote]`: its keys, and where keys are kept when nobody says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schedulerd.config import Config, parse
from schedulerd.config_changes import compared
from schedulerd.config_remote import credential, default_folder, default_secret_key
from schedulerd.errors import ConfigError


def test_nothing_listens_unless_it_is_asked_to() -> None:
    assert Config().remote.listen is None
    assert Config().remote.in_control == frozenset()


def test_every_key_is_read() -> None:
    text = '[remote]\nlisten = "0.0.0.0:9478"\nsecret_key = "/k/s"\noperators = "/k/o"\ncontrol = ["anna", "bob"]'
    remote = parse(text, "board.toml").remote
    assert (remote.listen, remote.secret_key, remote.operators) == ("0.0.0.0:9478", Path("/k/s"), Path("/k/o"))
    assert remote.in_control == {"anna", "bob"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('listen = "board:9478"', "is not a port, which only this machine reaches, or an address"),
        ('control = "anna"', "is not a list of names of keys"),
        ("control = [1]", "is not a list of names of keys"),
        ('control = ["../anna"]', "is no name for a key"),
        ('operators = "keys"', "is not an absolute path"),
        ('allowed = "/k"', "its keys are listen, secret_key, operators, control"),
    ],
)
def test_what_is_wrong_is_refused(line: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(f"[remote]\n{line}", "board.toml")


def test_who_may_do_what_changes_at_once_and_where_it_listens_with_a_restart() -> None:
    wanted = parse('[remote]\nlisten = 9478\noperators = "/k/o"\ncontrol = ["bob", "anna"]', "board.toml")
    changes = compared(Config(), wanted)
    assert [change.key for change in changes.applied] == ["operators", "control"]
    assert '[remote] control [] -> ["anna", "bob"]' in map(str, changes.applied)
    assert [str(change) for change in changes.restart] == ['[remote] listen "off" -> "127.0.0.1:9478"']


def test_keys_are_the_systems_for_root_and_the_service_and_else_the_users() -> None:
    assert default_folder({"STATE_DIRECTORY": "/var/lib/schedulerd"}) == Path("/etc/schedulerd")
    if os.geteuid() == 0:
        assert default_folder({}) == Path("/etc/schedulerd")
    else:
        assert default_folder({"XDG_CONFIG_HOME": "/c"}) == Path("/c/schedulerd")
        assert default_folder({}) == Path.home() / ".config" / "schedulerd"


def test_a_credential_of_systemd_counts_more_than_the_file(tmp_path: Path) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": "/var/lib/schedulerd"}
    assert credential(environment) is None
    assert default_secret_key(environment) == Path("/etc/schedulerd/remote.secret")
    (tmp_path / "remote.secret").write_text("")
    assert credential(environment) is None
    (tmp_path / "remote.secret").write_text("key")
    assert default_secret_key(environment) == credential(environment) == tmp_path / "remote.secret"
    assert credential({"CREDENTIALS_DIRECTORY": "relative"}) is None
