"""`LocalTransport` against a bare listening socket: what it says about its connection, and how messages travel."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schedulerd.wire import memfd
from schedulerd.wire.codec import encode
from schedulerd.wire.envelope import Frame
from schedulerd.wire.local import ATTACHED, MAX_PACKET_BYTES, Kind, Place, pack, pack_inline
from schedulerd.wire.messages import Code, Failure, Ping, Pong
from schedulerd_client import Overloaded, TransportError
from schedulerd_client._link import MAX_KEPT
from schedulerd_client._local import PAUSE_S, LocalTransport
from schedulerd_client._transport import Incoming, Silence
from tests.clients.fakedaemon import PATIENCE_S
from tests.clients.fakelocal import Connection, Listener, descriptors, no_more_descriptors
from tests.clients.tasks import begun

HEADER = b"\x80"
"""An empty map."""


@pytest.fixture
def path(runtime: Path) -> Path:
    return runtime / "local.sock"


@contextmanager
def opened(path: Path) -> Iterator[LocalTransport]:
    transport = LocalTransport(path)
    transport.open()
    yield transport
    transport.close()


@contextmanager
def connected(path: Path) -> Iterator[tuple[LocalTransport, Connection]]:
    """Both ends of a connection."""
    with Listener(path) as listener, opened(path) as transport, listener.accept(PATIENCE_S) as daemon:
        assert transport.receive(PATIENCE_S) is Silence.CONNECTED
        yield transport, daemon


def until_it_is(wanted: Silence, transport: LocalTransport) -> None:
    """Take what comes until it is the one that is wanted."""
    incoming: Incoming | None = None
    while incoming is not wanted:
        incoming = transport.receive(PATIENCE_S)
        assert incoming is not Silence.TIMED_OUT


# The connection.


@pytest.mark.parametrize("unread", [0, 1])
def test_what_arrived_before_the_connection_ended_is_handed_out_first(path: Path, unread: int) -> None:
    """Also where the daemon leaves something unread, which the kernel tells as a reset before anything else."""
    with connected(path) as (transport, daemon):
        for _ in range(unread):
            transport.send([b"never read"])
        daemon.send([b"first"])
        daemon.send([b"second"])
        daemon.close()
        assert [transport.receive(PATIENCE_S) for _ in range(4)] == [[b"first"], [b"second"], *2 * [Silence.LOST]]
        transport.send([b"to nobody"])


def test_nothing_that_was_queued_survives_a_new_connection(path: Path) -> None:
    with opened(path) as transport:
        transport.send([b"old"])
        transport.open()
        transport.send([b"new"])
        with Listener(path) as listener:
            until_it_is(Silence.CONNECTED, transport)
            with listener.accept(PATIENCE_S) as daemon:
                assert daemon.receive() == [b"new"]


def test_it_says_that_nobody_listens_and_then_that_somebody_does(path: Path) -> None:
    with opened(path) as transport:
        assert transport.receive(PATIENCE_S) is Silence.ABSENT
        assert transport.receive(PATIENCE_S) is Silence.ABSENT
        assert str(path) in (transport.fault() or "")
        with Listener(path) as listener:
            until_it_is(Silence.CONNECTED, transport)
            assert transport.fault() is None
            listener.accept(PATIENCE_S).close()
            assert transport.receive(PATIENCE_S) is Silence.LOST
            assert transport.fault() is not None


def test_a_connection_that_has_ended_is_a_fault_before_anything_is_read(path: Path) -> None:
    with connected(path) as (transport, daemon):
        daemon.send([b"last words"])
        daemon.close()
        assert transport.fault() is not None
        assert transport.receive(PATIENCE_S) == [b"last words"]


def test_silence_ends_with_the_time_out(path: Path) -> None:
    with opened(path) as transport:
        assert transport.receive(0.0) is Silence.ABSENT
        assert transport.receive(0.0) is Silence.TIMED_OUT
    with connected(path) as (transport, _):
        assert transport.receive(0.001) is Silence.TIMED_OUT
        assert asyncio.run(transport.receive_async(0.001)) is Silence.TIMED_OUT


def test_a_process_that_handles_signals_all_the_time_is_not_kept_waiting(path: Path) -> None:
    give_up_s = time.monotonic() + PATIENCE_S

    def handle(*_: object) -> None:
        if time.monotonic() > give_up_s:
            raise TimeoutError("waits for ever")

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with connected(path) as (transport, _):
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            assert transport.receive(0.6) is Silence.TIMED_OUT
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("said", [[], [encode(Failure(0, Code.OVERLOADED, "too many")), encode(Ping(0))]])
def test_a_daemon_that_hangs_up_at_once_is_not_asked_all_the_time(path: Path, said: list[list[Frame]]) -> None:
    """Also where it says why, which answers nothing."""
    attempts = 4
    with Listener(path) as listener, opened(path) as transport:
        began_s = time.monotonic()
        for _ in range(attempts):
            until_it_is(Silence.CONNECTED, transport)
            with listener.accept(PATIENCE_S) as daemon:
                for frames in said:
                    daemon.send(frames)
            until_it_is(Silence.LOST, transport)
            transport.open()
        assert time.monotonic() - began_s >= (attempts - 1) * PAUSE_S


def test_after_a_connection_that_served_there_is_no_pause(path: Path) -> None:
    with Listener(path) as listener, opened(path) as transport:
        for _ in range(3):
            with listener.accept(PATIENCE_S) as daemon:
                daemon.send(encode(Pong(1)))
                until_it_is(Silence.CONNECTED, transport)
                assert transport.receive(PATIENCE_S) == encode(Pong(1))
            until_it_is(Silence.LOST, transport)
            transport.open()
            assert transport.fault() is None


def test_whoever_waits_in_an_event_loop_sees_the_connection_that_was_opened_meanwhile(path: Path) -> None:
    async def message(transport: LocalTransport) -> Incoming:
        while isinstance(incoming := await transport.receive_async(10 * PATIENCE_S), Silence):
            pass
        return incoming

    async def test(transport: LocalTransport) -> None:
        with Listener(path) as listener:
            transport.open()
            waiting = await begun(message(transport))
            with await asyncio.to_thread(listener.accept, PATIENCE_S):
                transport.open()
                with await asyncio.to_thread(listener.accept, PATIENCE_S) as daemon:
                    daemon.send([b"here"])
                    assert await asyncio.wait_for(waiting, PATIENCE_S) == [b"here"]

    with opened(path) as transport:
        asyncio.run(test(transport))


def test_an_event_loop_tries_again_until_somebody_listens_and_hears_when_it_ends(path: Path) -> None:
    async def heard(transport: LocalTransport, wanted: Silence) -> None:
        while await transport.receive_async(PATIENCE_S) is not wanted:
            pass

    async def test(transport: LocalTransport) -> None:
        await heard(transport, Silence.ABSENT)
        with Listener(path) as listener:
            await heard(transport, Silence.CONNECTED)
            ending = await begun(heard(transport, Silence.LOST))
            listener.accept(PATIENCE_S).close()
            await asyncio.wait_for(ending, PATIENCE_S)

    with opened(path) as transport:
        asyncio.run(test(transport))


# Messages in.


def test_frames_are_aligned_and_nobody_can_write_to_them(path: Path) -> None:
    with connected(path) as (transport, daemon):
        daemon.send([b"odd", b"x" * 8])
        daemon.send_attached([b"odd", b"y" * 100_000, b"z" * 8])
        inline, attached = transport.receive(PATIENCE_S), transport.receive(PATIENCE_S)
        daemon.send([b"over", b"written?"])
        transport.receive(PATIENCE_S)
    assert inline == [b"odd", b"x" * 8]
    assert attached == [b"odd", b"y" * 100_000, b"z" * 8]
    for message in (inline, attached):
        assert not isinstance(message, Silence)
        assert all(memoryview(frame).readonly for frame in message)


def test_descriptors_that_come_are_closed(path: Path) -> None:
    with connected(path) as (transport, daemon):
        before = descriptors()
        kept = []
        for _ in range(5):
            daemon.send_attached([HEADER, b"x" * 100_000])
            kept.append(transport.receive(PATIENCE_S))
        descriptor = memfd.create(10)
        socket.send_fds(daemon.socket, pack_inline([HEADER, b"has no use for it"]), [descriptor])
        os.close(descriptor)
        assert transport.receive(PATIENCE_S) == [HEADER, b"has no use for it"]
        assert descriptors() == before


IN_A_RING = [Place(1), Place(4, 1, 0)]
IN_WHAT_COMES_ALONG = [Place(1), Place(4, ATTACHED, 0)]


@pytest.mark.parametrize(
    ("buffers", "along"),
    [
        ([b"\x09 no packet"], None),
        ([b"\x01"], None),
        ([b"x" * (MAX_PACKET_BYTES + 1)], None),
        (pack([Place(0, 1)], (), Kind.RING), lambda: memfd.create(4096)),
        (pack([Place(0)], [b""], Kind.RING), None),
        (pack([Place(1), Place(2**31, ATTACHED, 0)], [HEADER]), lambda: memfd.create(4096)),
        (pack([Place(1), Place(4, ATTACHED, 2**63)], [HEADER]), lambda: memfd.create(4096)),
        (pack(IN_A_RING, [HEADER]), None),
        (pack(IN_A_RING, [HEADER]), lambda: memfd.create(4096)),
        (pack(IN_WHAT_COMES_ALONG, [HEADER]), None),
        (pack(IN_WHAT_COMES_ALONG, [HEADER]), lambda: memfd.create(3)),
        (pack(IN_WHAT_COMES_ALONG, [HEADER]), lambda: os.open("/dev/null", os.O_RDONLY)),
    ],
)
def test_a_packet_that_makes_no_sense_ends_the_connection(
    path: Path, buffers: list[Frame], along: Callable[[], int] | None
) -> None:
    with connected(path) as (transport, daemon):
        before = descriptors()
        if along is None:
            daemon.socket.sendmsg(buffers)
        else:
            descriptor = along()
            socket.send_fds(daemon.socket, buffers, [descriptor])
            os.close(descriptor)
        assert transport.receive(PATIENCE_S) is Silence.LOST
        assert descriptors() == before


# Messages out.


def numbered(transport: LocalTransport, first: int) -> int:
    """Send messages with numbers until the socket takes no more and some are kept; the number that is next."""
    number = first
    link = transport._link
    assert link is not None
    while not link.blocked or number < first + 20:
        transport.send([b"%d" % number, b"x" * 30_000])
        number += 1
    return number


def test_what_the_socket_does_not_take_leaves_in_order_while_an_answer_is_waited_for(path: Path) -> None:
    with connected(path) as (transport, daemon):
        count = numbered(transport, 0)
        read: list[int] = []
        while len(read) < count:
            read.append(int(daemon.receive()[0]))
            assert transport.receive(0.0) is Silence.TIMED_OUT
        assert read == list(range(count))
        # And from then on directly again.
        transport.send([b"at once"])
        assert daemon.receive() == [b"at once"]


def test_what_the_socket_does_not_take_leaves_in_order_in_an_event_loop(path: Path) -> None:
    async def test(transport: LocalTransport, daemon: Connection) -> None:
        # The loop waits on the socket already when it fills up.
        waiting = await begun(transport.receive_async(PATIENCE_S))
        count = numbered(transport, 0)
        read = await asyncio.to_thread(lambda: [int(daemon.receive()[0]) for _ in range(count)])
        assert read == list(range(count))
        daemon.send([b"all read"])
        assert await asyncio.wait_for(waiting, PATIENCE_S) == [b"all read"]

    with connected(path) as (transport, daemon):
        asyncio.run(test(transport, daemon))


def flood(transport: LocalTransport, count: int) -> None:
    for _ in range(count):
        transport.send([b"question", b"x" * 30_000])


def test_a_daemon_that_never_reads_is_not_sent_more_than_a_bound(path: Path) -> None:
    with connected(path) as (transport, _):
        with pytest.raises(Overloaded, match=f"{MAX_KEPT} messages wait"):
            flood(transport, 3 * MAX_KEPT)
        assert transport.receive(0.0) is Silence.TIMED_OUT
        transport.open()
        transport.send([b"a new connection has room"])


def test_a_daemon_that_does_not_come_is_not_kept_more_than_a_bound(path: Path) -> None:
    with opened(path) as transport, pytest.raises(Overloaded, match=f"{MAX_KEPT} messages wait"):
        flood(transport, MAX_KEPT + 1)


def test_a_daemon_that_leaves_while_it_is_sent_to_is_lost(path: Path) -> None:
    with connected(path) as (transport, daemon):
        numbered(transport, 0)
        daemon.close()
        assert transport.receive(PATIENCE_S) is Silence.LOST


def test_a_message_that_the_socket_refuses_ends_the_connection(path: Path) -> None:
    """What was to come before it may be missing now."""

    async def refused(transport: LocalTransport) -> None:
        waiting = await begun(transport.receive_async(PATIENCE_S))
        with pytest.raises(TransportError, match="does not take this"):
            transport.send([HEADER, bytes(30_000)])
        assert await asyncio.wait_for(waiting, PATIENCE_S) is Silence.LOST

    with connected(path) as (transport, _):
        link = transport._link
        assert link is not None
        # As on a machine with another limit.
        link._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        asyncio.run(refused(transport))
        assert transport.receive(PATIENCE_S) is Silence.LOST


def test_without_memory_for_a_frame_the_error_says_so_and_the_next_one_travels(path: Path) -> None:
    large = [HEADER, bytes(100_000)]
    with connected(path) as (transport, daemon):
        before = descriptors()
        with no_more_descriptors(), pytest.raises(TransportError, match="no shared memory for a message of 100001 b"):
            transport.send(large)
        assert descriptors() == before
        transport.send(large)
        assert daemon.receive() == large
