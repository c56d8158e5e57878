"""A daemon on another machine: the keys that it takes, and why a connection to it did not come about."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from socket import AF_INET, getaddrinfo
from typing import Self

import zmq

from schedulerd.wire.keys import KeyFileError, Pair, read_public, read_secret
from schedulerd.wire.peer import host_and_port
from schedulerd.wire.remote import TCP
from schedulerd_client._errors import HandshakeFailed, NotPermitted, SchedulerdClientError, TransportError

HEARTBEAT_MS = 2000
HEARTBEAT_TIMEOUT_MS = 10_000
"""A wireless network may be silent for a few seconds."""
RECONNECT_MS = 1000
RECONNECT_MAX_MS = 5000
"""Each attempt is a handshake, which costs a small board something."""


@dataclass(frozen=True, slots=True)
class OperatorKeys:
    """What an operator on another machine needs: the daemon's public key, and a pair of his own. 40 characters each."""

    server: str
    own: Pair = field(repr=False)

    @classmethod
    def from_files(cls, server_key: str | Path, key: str | Path) -> Self:
        """From the daemon's public key file and the operator's secret one; `KeyFileError` (a ValueError) says why not.

        A secret file that others may read is refused.
        """
        check_curve()
        secret = read_secret(Path(key))
        try:
            own = Pair(zmq.curve_public(secret.encode("ascii")).decode("ascii"), secret)
        except zmq.ZMQError:
            raise KeyFileError(f"{key}: its secret-key is no key; copy the file once more") from None
        return cls(read_public(Path(server_key)), own)


class Denied(Enum):
    """Why a handshake failed; trying again does not mend it."""

    KEY = zmq.EVENT_HANDSHAKE_FAILED_AUTH
    """The daemon does not know our key."""
    MECHANISM = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    """Whoever listens there is no daemon that takes CURVE."""
    SERVER_KEY = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    """The connection ended within the handshake: a CURVE server says no more to whoever has not its public key."""

    def error(self, address: str) -> SchedulerdClientError:
        """What to raise, with the remedy."""
        if self is Denied.KEY:
            return NotPermitted(
                f"the daemon at {address} does not let this key in; have its public file copied into the folder "
                "[remote] operators there, then `schedctl reload`"
            )
        if self is Denied.MECHANISM:
            return HandshakeFailed(
                f"what listens at {address} is no daemon that takes CURVE keys; it must be what [remote] listen says"
            )
        return HandshakeFailed(
            f"{address} ended the handshake: most likely the server key is not that daemon's, or it is no daemon, or "
            "there are as many connections from your address as it takes; compare the file with the one there "
            "(`schedulerd keys show`). The daemon's log says why (remote_refused)"
        )


DENIALS = sum(one.value for one in Denied)
"""Events of a monitor."""


def check_curve() -> None:
    """Raises `TransportError` where libzmq has no CURVE."""
    if not zmq.has("curve"):
        raise TransportError(f"this libzmq {zmq.zmq_version()} was built without CURVE; install pyzmq from PyPI")


def new_key_pair() -> Pair:
    """A pair of keys that nobody has had."""
    check_curve()
    public, secret = zmq.curve_keypair()
    return Pair(public.decode("ascii"), secret.decode("ascii"))


def is_of_ipv6_alone(host: str) -> bool:
    """Whether a machine has no IPv4 address.

    Of a name libzmq tries one address, and where it may take one of IPv6, it takes that; but a daemon that listens at
    0.0.0.0 has none. One that listens at [::] has both.
    """
    try:
        getaddrinfo(host, None, AF_INET)
    except OSError:
        return True
    return False


def secure(socket: zmq.Socket[bytes], address: str, keys: OperatorKeys) -> None:
    """Have a socket, before it connects to `address`, prove who we are and that the server is who it should be."""
    socket.curve_serverkey = keys.server.encode("ascii")
    socket.curve_publickey = keys.own.public.encode("ascii")
    socket.curve_secretkey = keys.own.secret.encode("ascii")
    socket.ipv6 = is_of_ipv6_alone(host_and_port(address.removeprefix(TCP))[0])
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    socket.reconnect_ivl = RECONNECT_MS
    socket.reconnect_ivl_max = RECONNECT_MAX_MS
