"""Which way a client reaches a daemon: the local socket, or ZeroMQ where the daemon has no other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import zmq

from schedulerd_client import AsyncClient, Client
from schedulerd_client._choice import ChosenTransport, transport_to
from schedulerd_client._local import LocalTransport
from schedulerd_client._transport import Silence, Transport, ZmqTransport
from tests.clients.fakedaemon import OLDER, PATIENCE_S, FakeDaemon, frame
from tests.clients.tasks import begun

LONG_S = 60.0


def way_of(transport: Transport) -> type[Transport]:
    assert isinstance(transport, ChosenTransport)
    return type(transport._chosen)


def set_age(runtime: Path, *, older: bool) -> None:
    """Whether the next daemon in this directory is one that has only ZeroMQ."""
    (runtime / OLDER).touch()
    if not older:
        (runtime / OLDER).unlink()


def test_it_is_the_local_socket_also_before_there_is_a_daemon(runtime: Path) -> None:
    with Client(runtime) as client:
        assert way_of(client._transport) is LocalTransport
        with FakeDaemon(runtime) as daemon:
            client.register("digits", 25, 30)
            assert len(daemon.connections) == 1


def test_who_names_infer_sock_gets_zeromq(runtime: Path) -> None:
    assert isinstance(transport_to(f"ipc://{runtime}/control.sock"), ChosenTransport)
    with FakeDaemon(runtime) as daemon, Client(f"ipc://{runtime}/infer.sock") as client:
        assert isinstance(client._transport, ZmqTransport)
        client.register("digits", 25, 30)
        assert not daemon.connections


@pytest.mark.parametrize("older_first", [True, False])
def test_it_is_decided_again_when_the_next_daemon_is_of_another_age(runtime: Path, older_first: bool) -> None:
    with Client(runtime, timeout_s=LONG_S) as client:
        for older in (older_first, not older_first, older_first):
            set_age(runtime, older=older)
            with FakeDaemon(runtime) as daemon:
                if client.registration is None:
                    client.register("digits", 25, 30)
                assert client.infer(frame(7)).outputs[0, 0] == 7
                assert len(daemon.connections) == (0 if older else 1)


def test_an_event_loop_finds_an_older_daemon_that_comes_later(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            registering = await begun(client.register("digits", 25, 30))
            set_age(runtime, older=True)
            with FakeDaemon(runtime):
                await asyncio.wait_for(registering, PATIENCE_S)
                assert way_of(client._transport) is ZmqTransport

    asyncio.run(test())


def test_an_older_daemon_that_has_gone_without_a_word_is_not_waited_for(runtime: Path) -> None:
    """Its socket is still there, so ZeroMQ is tried; then a newer daemon comes."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as gone:
        gone.bind(f"ipc://{runtime}/infer.sock")
        (runtime / "infer.sock").rename(runtime / "kept")
    (runtime / "kept").rename(runtime / "infer.sock")
    transport = transport_to(runtime)
    transport.open()
    assert way_of(transport) is ZmqTransport
    assert transport.receive(PATIENCE_S) is Silence.ABSENT
    (runtime / "local.sock").touch()
    while transport.receive(PATIENCE_S) is not Silence.LOST:
        pass
    transport.open()
    assert way_of(transport) is LocalTransport
    transport.close()
