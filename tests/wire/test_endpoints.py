"""Where the sockets are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schedulerd.wire.endpoints import EndpointError, Endpoints, default_directory


def test_the_sockets_lie_in_one_directory() -> None:
    assert Endpoints.within(Path("/run/x")) == Endpoints(
        infer="ipc:///run/x/infer.sock",
        control="ipc:///run/x/control.sock",
        events="ipc:///run/x/events.sock",
        local=Path("/run/x/local.sock"),
    )


def test_root_serves_the_whole_system(tmp_path: Path) -> None:
    assert default_directory({}, 0, tmp_path / "absent") == tmp_path / "absent"


def test_a_user_finds_the_daemon_of_the_system(tmp_path: Path) -> None:
    assert default_directory({"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, tmp_path) == tmp_path


def test_without_one_it_is_the_daemon_of_the_session(tmp_path: Path) -> None:
    found = default_directory({"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, tmp_path / "absent")
    assert found == Path("/run/user/1000/schedulerd")


@pytest.mark.parametrize("environment", [{}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "relative/path"}])
def test_without_a_session_it_is_a_directory_of_the_users_own(environment: dict[str, str], tmp_path: Path) -> None:
    user_id = 987_654
    assert default_directory(environment, user_id, tmp_path / "absent") == Path(f"/tmp/schedulerd-{user_id}")  # noqa: S108


def test_a_directory_in_tmp_that_somebody_else_made_is_refused(tmp_path: Path) -> None:
    stranger = os.getuid() + 987_654
    squatted = Path(f"/tmp/schedulerd-{stranger}")  # noqa: S108
    squatted.mkdir()
    try:
        with pytest.raises(EndpointError, match="belongs to user"):
            default_directory({}, stranger, tmp_path / "absent")
    finally:
        squatted.rmdir()


def test_the_longest_path_that_the_system_takes_is_taken_and_one_more_is_refused() -> None:
    longest = Path("/" + "d" * (107 - len("//control.sock")))
    assert Endpoints.within(longest).control.endswith("control.sock")
    with pytest.raises(EndpointError, match="limit is 107"):
        Endpoints.within(Path(f"{longest}d"))
