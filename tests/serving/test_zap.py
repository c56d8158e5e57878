"""The answer to ZeroMQ's question whether a connection is let in."""

from __future__ import annotations

import pytest
import zmq
from zmq.utils import z85

from schedulerd.serving.zap import rule

KEY = bytes(range(32))
TEXT = z85.encode(KEY).decode()
NAMES = {TEXT: "anna"}


def question(
    *, version: bytes = b"1.0", domain: bytes = b"schedulerd", mechanism: bytes = b"CURVE", key: bytes = KEY
) -> list[bytes]:
    return [version, b"17", domain, b"localhost:0:0:1", b"identity", mechanism, key]


def test_a_known_key_is_let_in_and_becomes_the_user_id() -> None:
    ruling = rule(question(), NAMES)
    assert ruling.reply == (b"1.0", b"17", b"200", b"OK", TEXT.encode(), b"")
    assert ruling.name == "anna"


@pytest.mark.parametrize(
    "asked",
    [
        question(key=bytes(32)),
        question(mechanism=b"NULL"),
        question(mechanism=b"PLAIN"),
        question(mechanism=b"GSSAPI"),
        question(domain=b""),
        question(domain=b"another"),
        question(version=b"2.0"),
        question(key=KEY[:-1]),
        question(key=TEXT.encode()),
        [*question(), b"more"],
        question()[:-1],
        question()[:3],
        [b"1.0"],
        [],
    ],
)
def test_everything_else_is_refused_with_a_code_that_the_client_hears(asked: list[bytes]) -> None:
    ruling = rule(asked, NAMES)
    assert ruling.name is None
    assert ruling.reply[2:] == (b"400", b"this key is not allowed", b"", b"")


def test_nobody_is_let_in_where_nobody_is_known() -> None:
    assert rule(question(), {}).name is None
    assert rule(question(mechanism=b"NULL"), {"": "nobody"}).name is None


def test_the_keys_that_libzmq_makes_are_told_apart() -> None:
    public, _ = zmq.curve_keypair()
    assert rule(question(key=z85.decode(public)), {public.decode(): "bob"}).name == "bob"
