"""Where the daemon's sockets are: one runtime directory, four files in it.

The same rule on both sides, so that a client that is told nothing finds the daemon that was told
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SYSTEM_DIRECTORY = Path("/run/schedulerd")
MAX_PATH_BYTES = 107
"""`sun_path` has 108 bytes with its final zero (unix(7))."""


class EndpointError(ValueError):
    """A directory that cannot hold the sockets, with the remedy."""


class Endpoints(NamedTuple):
    """ZeroMQ addresses of three sockets, and the path of the local one."""

    infer: str
    control: str
    events: str
    local: Path
    """AF_UNIX, SOCK_SEQPACKET: for apps on this machine, what `infer` is for all (see `wire.local`)."""

    @staticmethod
    def within(directory: Path) -> Endpoints:
        """The sockets of the daemon that runs in `directory`; `EndpointError` when its path is too long."""
        return Endpoints(
            infer=_ipc(directory / "infer.sock"),
            control=_ipc(directory / "control.sock"),
            events=_ipc(directory / "events.sock"),
            local=directory / "local.sock",
        )


def default_directory(environment: Mapping[str, str], user_id: int, system_directory: Path = SYSTEM_DIRECTORY) -> Path:
    """The runtime directory when nobody names one: the system's, the session's, or our own in /tmp.

    Raises `EndpointError` when the one in /tmp is somebody else's, who could answer in our daemon's place.
    """
    if user_id == 0 or system_directory.is_dir():
        return system_directory
    # https://specifications.freedesktop.org/basedir-spec: a relative path is invalid and must be ignored.
    session = Path(environment.get("XDG_RUNTIME_DIR", ""))
    if session.is_absolute():
        return session / "schedulerd"
    return _own(Path(f"/tmp/schedulerd-{user_id}"), user_id)  # noqa: S108 (ownership is checked)


def _own(directory: Path, user_id: int) -> Path:
    try:
        owner = directory.lstat().st_uid
    except FileNotFoundError:
        return directory
    if owner != user_id:
        raise EndpointError(
            f"{directory} belongs to user {owner}, not {user_id}; set XDG_RUNTIME_DIR or name a runtime directory"
        )
    return directory


def _ipc(path: Path) -> str:
    size = len(str(path).encode())
    if size > MAX_PATH_BYTES:
        raise EndpointError(
            f"socket path {path} has {size} bytes, the system's limit is {MAX_PATH_BYTES}; choose a shorter directory"
        )
    return f"ipc://{path}"
