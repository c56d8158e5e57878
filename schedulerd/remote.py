"""What the daemon builds where `[remote] listen` names an address: keys, the door, and the sockets behind it.

The ports are taken before anything is measured or loaded, so that one that is not free is told at once, and so is a key
that cannot be used. The list of who is let in is read by the main thread with every reload, and takes effect when the
control loop takes the configuration in.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from schedulerd.clock import Clock
from schedulerd.config_remote import RemoteConfig, credential
from schedulerd.errors import ConfigError
from schedulerd.serving.curve import Handler, RemotePort, Sockets
from schedulerd.serving.door import Door
from schedulerd.serving.operators import Operators
from schedulerd.wire.keys import PUBLIC, KeyFileError, check_name, read_public, read_secret

log = structlog.get_logger(__name__)

MOST_OPERATORS = 1000
CLOSE_S = 2.0


class RemoteAccess:
    """Listening; serving from `serve` to `close`."""

    def __init__(self, config: RemoteConfig, address: str, clock: Clock) -> None:
        """Args: config; address: `host:port`; clock. Raises `ConfigError` where keys or ports cannot be had."""
        self._clock = clock
        self._operators = self._read = operators_of(config)
        self._secret_key = _secret_key(config.secret_key)
        self._door = Door(address, clock)
        self._port: RemotePort | None = None

    def port(self, runtime: Path) -> RemotePort:
        """What answers operators, from `serve` on; `runtime` is the directory for its sockets.

        Raises `SchedulerdError` where they cannot be made.
        """
        sockets = Sockets.within(runtime)
        self._port = RemotePort(self._door, sockets, self._secret_key, self._operators, self._clock)
        return self._port

    def serve(self, handler: Handler) -> None:
        """Let operators in; `port` comes before. `handler` gets their messages."""
        assert self._port is not None, "port() comes before serve()"
        self._port.start(handler)
        log.info("remote", address=self._door.address, operators=sorted(self._operators.names.values()))
        _warn_of_nobody(self._operators)

    def read_again(self, config: RemoteConfig) -> None:
        """Read who is let in, for the next `admit`. Raises `ConfigError`, and what was read before stands."""
        self._read = operators_of(config)

    def admit(self) -> None:
        """Let in who was read last, and nobody else."""
        before, self._operators = self._operators, self._read
        if before == self._operators or self._port is None:
            return
        self._port.admit(self._operators)
        log.info("remote_operators", operators=sorted(self._operators.names.values()))
        _warn_of_nobody(self._operators)

    def close(self) -> None:
        """Stop listening; safe to call before `serve`."""
        if self._port is not None:
            self._port.close(CLOSE_S)
        self._door.close(CLOSE_S)


def operators_of(config: RemoteConfig) -> Operators:
    """Who is let in, from the files of the folder. Raises `ConfigError` for one that cannot be used."""
    names: dict[str, str] = {}
    try:
        for path in _files(config.operators):
            key, name = read_public(path), check_name(path.name.removesuffix(PUBLIC))
            if key in names:
                raise KeyFileError(f"{path} has the key of {names[key]} once more; every operator has a key of his own")
            names[key] = name
    except KeyFileError as error:
        raise ConfigError(f"[remote] operators: {error}") from error
    return Operators(names, config.in_control)


def _files(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if path.name.endswith(PUBLIC) and path.name[0] != ".")
    except FileNotFoundError:
        raise KeyFileError(
            f"there is no folder {folder}; make it, and put the public keys of operators there"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{folder} cannot be read: {error.strerror}") from error
    if len(found) > MOST_OPERATORS:
        raise KeyFileError(f"{folder} has {len(found)} keys; the limit is {MOST_OPERATORS}")
    return found


def _secret_key(path: Path) -> str:
    try:
        return read_secret(path, guarded=path == credential())
    except KeyFileError as error:
        handed = "; a service is handed it by the drop-in of `schedulerd install-units --profile remote`"
        raise ConfigError(f"[remote] secret_key: {error}{'' if os.access(path, os.R_OK) else handed}") from error


def _warn_of_nobody(operators: Operators) -> None:
    if not operators.names:
        log.warning("remote_nobody", remedy=f"put NAME{PUBLIC} of an operator into the folder [remote] operators")
    absent = operators.in_control - set(operators.names.values())
    if absent:
        log.warning("remote_control_without_key", operators=sorted(absent))
