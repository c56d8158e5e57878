"""What is secret by its name is not shown, however deep it lies."""

from __future__ import annotations

import pytest

from schedulerd.confidential import BLANK, blanked, is_secret


@pytest.mark.parametrize(
    "name",
    ["secret", "secret_key", "server_secret_key", "key", "api_key", "password", "auth_token", "Passphrase", "keys"],
)
def test_a_name_says_that_a_value_is_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["public_key", "client_public_key", "monkey", "keyboard", "app", "keyed_by"])
def test_others_are_shown(name: str) -> None:
    assert not is_secret(name)


def test_secrets_are_blanked_in_maps_and_lists() -> None:
    before = {"event": "curve", "keys": ["a", "b"], "peers": [{"name": "desk", "secret_key": "x", "public_key": "y"}]}
    assert blanked(before) == {
        "event": "curve",
        "keys": BLANK,
        "peers": [{"name": "desk", "secret_key": BLANK, "public_key": "y"}],
    }
    assert before["keys"] == ["a", "b"], "what was given stays as it is"


def test_other_values_stay_what_they_are() -> None:
    value = {"a": (1, [2.5, None]), "b": {"c": True}}
    assert blanked(value) == value
    assert type(blanked(value)["a"]) is tuple
