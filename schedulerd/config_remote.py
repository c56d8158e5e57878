"""`[remote]`: operators on other machines. Where keys are, who may use which, and at what address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schedulerd.config_about import about
from schedulerd.errors import ConfigError
from schedulerd.kinds import Directory, Listen
from schedulerd.wire.keys import SECRET, KeyFileError, check_name

SYSTEM_FOLDER: Final = Path("/etc/schedulerd")
KEY_NAME: Final = "remote"
"""Of the daemon's own key."""


@dataclass(frozen=True, slots=True)
class KeyNames:
    """Names of keys, each once."""

    def parse(self, value: object) -> frozenset[str]:
        """The names; whether there is such a key, whoever uses it finds out."""
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise ConfigError(f"{value!r} is not {self.range()}")
        try:
            return frozenset(map(check_name, value))
        except KeyFileError as error:
            raise ConfigError(str(error)) from error

    def range(self) -> str:
        """How names are written."""
        return 'a list of names of keys, such as ["anna"]'


def default_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the daemon's key and those of operators are: for root and the service the system's, else the user's."""
    if os.geteuid() == 0 or environment.get("STATE_DIRECTORY"):
        return SYSTEM_FOLDER
    return Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "schedulerd"


def default_secret_key(environment: Mapping[str, str] = os.environ) -> Path:
    """The daemon's secret key: a credential that systemd gave it, where there is one, else a file."""
    given = credential(environment)
    return given if given is not None else default_folder(environment) / f"{KEY_NAME}{SECRET}"


def credential(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Of systemd.exec(5), LoadCredential=: a file that only this service sees. None where it has no content."""
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    path = Path(folder) / f"{KEY_NAME}{SECRET}"
    try:
        return path if folder.startswith("/") and path.stat().st_size > 0 else None
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """Operators on other machines, over TCP with CURVE keys; see docs/remote.md."""

    listen: str | None = field(
        default=None,
        metadata=about(
            Listen("off"),
            "Where `schedctl --connect` reaches the daemon; events are at the port after it. Nobody is let in without "
            "a key of `operators`. Port 0 takes two that are free, and the log says which.",
            shown='`"off"`',
        ),
    )
    secret_key: Path = field(
        default_factory=default_secret_key,
        metadata=about(
            Directory(),
            "File of the daemon's secret key, of `schedulerd keys`. The service gets it from systemd by the drop-in "
            "`remote`.",
            shown="`/etc/schedulerd/remote.secret` for root and the service, else in `~/.config/schedulerd`",
        ),
    )
    operators: Path = field(
        default_factory=lambda: default_folder() / "operators",
        metadata=about(
            Directory(),
            "Folder of the public keys that are let in: NAME.public is that of the operator NAME. Every reload reads "
            "it again.",
            shown="`/etc/schedulerd/operators` for root and the service, else in `~/.config/schedulerd`",
            live=True,
        ),
    )
    in_control: frozenset[str] = field(
        default=frozenset(),
        metadata=about(
            KeyNames(),
            "Operators who may change something; the others see everything and change nothing.",
            key="control",
            shown="`[]`",
            live=True,
        ),
    )
