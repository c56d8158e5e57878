"""`ZmqTransport` against a bare ROUTER: what it says about its connection, and that nothing is lost with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from schedulerd_client._transport import Incoming, Silence, ZmqTransport
from tests.clients.fakedaemon import PATIENCE_S
from tests.clients.tasks import begun


@contextmanager
def opened(address: str) -> Iterator[ZmqTransport]:
    transport = ZmqTransport(address)
    transport.open()
    yield transport
    transport.close()


@contextmanager
def router(address: str) -> Iterator[zmq.Socket[bytes]]:
    """A daemon's end; what it has sent leaves before it goes."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.linger = round(PATIENCE_S * 1e3)
        socket.bind(address)
        yield socket


@pytest.fixture
def address(runtime: Path) -> str:
    return f"ipc://{runtime}/infer.sock"


def until_it_is(wanted: Silence, transport: ZmqTransport) -> None:
    """Take what comes until it is the one that is wanted."""
    incoming: Incoming | None = None
    while incoming is not wanted:
        incoming = transport.receive(PATIENCE_S)
        assert incoming is not Silence.TIMED_OUT


def test_what_arrived_before_the_connection_ended_is_handed_out_first(address: str) -> None:
    with opened(address) as transport:
        with router(address) as daemon:
            until_it_is(Silence.CONNECTED, transport)
            transport.send([b"question"])
            identity, _ = daemon.recv_multipart()
            daemon.send_multipart([identity, b"first"])
            daemon.send_multipart([identity, b"second"])
        assert [transport.receive(PATIENCE_S) for _ in range(3)] == [[b"first"], [b"second"], Silence.LOST]


def test_nothing_that_was_queued_survives_a_new_connection(address: str) -> None:
    with opened(address) as transport:
        transport.send([b"old"])
        transport.open()
        transport.send([b"new"])
        with router(address) as daemon:
            assert daemon.recv_multipart()[1:] == [b"new"]


def test_it_says_that_nobody_listens_and_then_that_somebody_does(address: str) -> None:
    with opened(address) as transport:
        assert transport.receive(PATIENCE_S) is Silence.ABSENT
        assert address in (transport.fault() or "")
        with router(address):
            until_it_is(Silence.CONNECTED, transport)
            assert transport.fault() is None


def test_silence_ends_with_the_time_out(address: str) -> None:
    with router(address), opened(address) as transport:
        until_it_is(Silence.CONNECTED, transport)
        assert transport.receive(0.001) is Silence.TIMED_OUT
        assert asyncio.run(transport.receive_async(0.001)) is Silence.TIMED_OUT


def test_whoever_waits_in_an_event_loop_sees_the_connection_that_was_opened_meanwhile(address: str) -> None:
    async def connected(transport: ZmqTransport) -> None:
        while await transport.receive_async(10 * PATIENCE_S) is not Silence.CONNECTED:
            pass

    async def test(transport: ZmqTransport) -> None:
        waiting = await begun(connected(transport))
        transport.open()
        with router(address):
            await asyncio.wait_for(waiting, PATIENCE_S)

    with opened(address) as transport:
        asyncio.run(test(transport))
