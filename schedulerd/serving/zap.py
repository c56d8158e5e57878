"""ZeroMQ's question whether a connection is let in, and the answer (https://rfc.zeromq.org/spec/27, ZAP 1.0). Pure.

pyzmq's own `ThreadAuthenticator` would be a second thread with an event loop of asyncio in it, whose list of keys
cannot be replaced as a whole while it is read; the question has eight frames and the answer six.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from zmq.utils import z85

VERSION: Final = b"1.0"
DOMAIN: Final = b"schedulerd"
"""What our sockets call themselves in the question."""
_FRAMES: Final = 7
"""Version, request, domain, address, identity, mechanism, and for CURVE one credential: the public key."""
_KEY_BYTES: Final = 32


class Ruling(NamedTuple):
    """What is said to libzmq, and what there is to be told about it."""

    reply: tuple[bytes, ...]
    name: str | None
    """Of the operator who is let in; None where nobody is."""
    key: str
    """Public, as 40 characters of Z85; empty where the question has none."""


def rule(question: Sequence[bytes], names: Mapping[str, str]) -> Ruling:
    """Let in whom `names` has by public key, with that key as the connection's User-Id; and nobody else."""
    request = question[1] if len(question) > 1 else b""
    key = _key(question)
    name = names.get(key) if key else None
    if name is None:
        # 400 is told to whoever asks to come in, so that he does not take it for a broken line.
        return Ruling((VERSION, request, b"400", b"this key is not allowed", b"", b""), None, key)
    return Ruling((VERSION, request, b"200", b"OK", key.encode(), b""), name, key)


def _key(question: Sequence[bytes]) -> str:
    if len(question) != _FRAMES or question[0] != VERSION or question[2] != DOMAIN:
        return ""
    mechanism, credential = question[5], question[6]
    if mechanism != b"CURVE" or len(credential) != _KEY_BYTES:
        return ""
    return bytes(z85.encode(credential)).decode("ascii")
