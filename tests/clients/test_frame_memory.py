"""Large frames: slots of shared rings, used again only after the answer, and arrays that lie in them from the start."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from schedulerd.wire.codec import Array, encode, header_of
from schedulerd.wire.envelope import Frame
from schedulerd.wire.local import ALIGNMENT, ATTACHED, MAX_INLINE_BYTES, MAX_RINGS
from schedulerd.wire.messages import Code, Failure, Infer, Ping, Unregistered
from schedulerd_client import AsyncClient, Client, MockTransport, NotRegistered, Refusal, TensorHeader, TransportError
from schedulerd_client._local import LocalTransport
from schedulerd_client._memory import SLOTS
from schedulerd_client._transport import Silence
from tests.clients.fakedaemon import OLDER, PATIENCE_S, FakeDaemon
from tests.clients.fakelocal import Connection, Listener, descriptors, no_more_descriptors

LARGE = 100_000
SHAPE = (300, 400)


@pytest.fixture
def path(runtime: Path) -> Path:
    return runtime / "local.sock"


@contextmanager
def connected(path: Path) -> Iterator[tuple[LocalTransport, Connection]]:
    """Both ends of a connection."""
    with Listener(path) as listener:
        transport = LocalTransport(path)
        transport.open()
        with listener.accept(PATIENCE_S) as daemon:
            assert transport.receive(PATIENCE_S) is Silence.CONNECTED
            yield transport, daemon
        transport.close()


def pixels(value: int, size_bytes: int = LARGE) -> Array:
    return np.full(size_bytes, value % 251, np.uint8)


def ask(transport: LocalTransport, request_id: int, *arrays: Array) -> None:
    transport.send(encode(Infer(request_id, tuple(map(header_of, arrays))), arrays))


def answer(transport: LocalTransport, daemon: Connection, request_id: int) -> None:
    """An answer to a request, which the transport takes in."""
    daemon.send(encode(Failure(request_id, Code.OVERLOADED, "no")))
    assert not isinstance(transport.receive(PATIENCE_S), Silence)


def last(frames: Sequence[Frame]) -> Array:
    """The last tensor of a message, in the memory where it lies."""
    return np.frombuffer(frames[-1], np.uint8)


def test_a_ring_is_handed_over_once_and_a_frame_of_each_request_lies_in_a_slot_of_its_own(path: Path) -> None:
    with connected(path) as (transport, daemon):
        seen = []
        for number in range(SLOTS):
            ask(transport, 1 + number, pixels(number))
            seen.append(last(daemon.receive()))
        assert [(frame == number).all() for number, frame in enumerate(seen)] == [True] * SLOTS
        assert daemon.offers == [1]
        assert {place.where for place in daemon.places} == {1}
        assert len({place.offset for place in daemon.places}) == SLOTS


def test_small_frames_travel_in_the_packet(path: Path) -> None:
    with connected(path) as (transport, daemon):
        ask(transport, 1, pixels(1, MAX_INLINE_BYTES))
        assert (last(daemon.receive()) == 1).all()
        assert (daemon.offers, daemon.places[0].where) == ([], 0)


def test_with_more_requests_open_than_slots_the_others_bring_memory_of_their_own(path: Path) -> None:
    with connected(path) as (transport, daemon):
        seen = []
        for number in range(3 * SLOTS):
            ask(transport, 1 + number, pixels(number))
            seen.append(last(daemon.receive()))
        assert [place.where for place in daemon.places] == [1] * SLOTS + [ATTACHED] * 2 * SLOTS
        assert all((frame == number).all() for number, frame in enumerate(seen))
        before = descriptors()
        ask(transport, 1 + 3 * SLOTS, pixels(1))
        daemon.receive()
        assert descriptors() == before


def test_a_slot_is_written_again_only_after_the_answer_to_its_request(path: Path) -> None:
    """In any order of answers: what is not answered stays as it was sent."""
    order = np.random.default_rng(0)
    with connected(path) as (transport, daemon):
        open_: dict[int, Array] = {}
        for request_id in range(1, 100):
            ask(transport, request_id, pixels(request_id))
            open_[request_id] = last(daemon.receive())
            assert all((frame == number % 251).all() for number, frame in open_.items())
            if len(open_) == SLOTS:
                ended = int(order.choice([*open_]))
                del open_[ended]
                answer(transport, daemon, ended)
        assert {place.where for place in daemon.places} == {1}


def test_messages_that_answer_nothing_free_no_slot(path: Path) -> None:
    with connected(path) as (transport, daemon):
        ask(transport, 1, pixels(1))
        first = last(daemon.receive())
        for frames in ([b"\xc1 no message"], [b"\x90"], encode(Ping(0)), encode(Failure(77, Code.INTERNAL, "other"))):
            daemon.send(frames)
            transport.receive(PATIENCE_S)
            ask(transport, 2, pixels(2))
            daemon.receive()
            answer(transport, daemon, 2)
        assert (first == 1).all()


def test_larger_frames_have_another_ring_and_the_smallest_makes_room_when_there_are_too_many(path: Path) -> None:
    with connected(path) as (transport, daemon):
        seen = []
        for number in range(MAX_RINGS + 2):
            ask(transport, 1 + number, pixels(number, LARGE * (1 + number)))
            seen.append(last(daemon.receive()))
        assert daemon.offers == [1, 2, 3, 4, 1, 2]
        assert all((frame == number).all() for number, frame in enumerate(seen))
        # A frame that fits into more than one lies in the smallest.
        ask(transport, 99, pixels(99, LARGE * 3))
        assert (last(daemon.receive()) == 99).all()
        assert daemon.places[-1].where == 3


def test_several_large_tensors_of_one_request_each_have_their_place(path: Path) -> None:
    with connected(path) as (transport, daemon):
        for request_id in range(1, 7):
            ask(transport, request_id, pixels(1), pixels(2, 100), pixels(3))
            tensors = daemon.receive()[1:]
            assert [np.frombuffer(tensor, np.uint8).max() for tensor in tensors] == [1, 2, 3]
            assert [len(tensor) for tensor in tensors] == [LARGE, 100, LARGE]
        assert daemon.places[-1].where == ATTACHED
        assert daemon.places[-1].offset % ALIGNMENT == 0


def test_a_request_that_could_not_be_sent_keeps_no_slot(path: Path) -> None:
    """Its first tensor had the last one, and there was no memory for the second."""
    with connected(path) as (transport, daemon):
        for request_id in range(1, SLOTS):
            ask(transport, request_id, pixels(request_id))
            daemon.receive()
        with no_more_descriptors(), pytest.raises(TransportError, match="no shared memory"):
            ask(transport, SLOTS, pixels(1), pixels(2))
        ask(transport, 1 + SLOTS, pixels(3))
        assert (last(daemon.receive()) == 3).all()
        assert daemon.places[-1].where == 1


def test_tensors_that_fit_each_but_not_all_into_a_packet_travel_all_the_same(path: Path) -> None:
    with connected(path) as (transport, daemon):
        ask(transport, 1, *(pixels(number, MAX_INLINE_BYTES) for number in range(4)))
        assert [np.frombuffer(tensor, np.uint8).max() for tensor in daemon.receive()[1:]] == [0, 1, 2, 3]


def test_on_a_new_connection_the_ring_is_handed_over_again_and_its_slots_are_free(path: Path) -> None:
    with Listener(path) as listener:
        transport = LocalTransport(path)
        for _ in range(3):
            transport.open()
            while transport.receive(PATIENCE_S) is not Silence.CONNECTED:
                pass
            with listener.accept(PATIENCE_S) as daemon:
                for request_id in range(1, 1 + SLOTS):
                    ask(transport, request_id, pixels(request_id))
                    assert (last(daemon.receive()) == request_id).all()
                assert daemon.offers == [1]
                assert {place.where for place in daemon.places} == {1}
        transport.close()


def test_after_unregistering_nothing_is_awaited(path: Path) -> None:
    """The daemon does not answer frames that still waited."""
    with connected(path) as (transport, daemon):
        for request_id in range(1, 1 + SLOTS):
            ask(transport, request_id, pixels(request_id))
            daemon.receive()
        daemon.send(encode(Unregistered(99)))
        transport.receive(PATIENCE_S)
        ask(transport, 100, pixels(100))
        assert (last(daemon.receive()) == 100).all()
        assert daemon.places[-1].where == 1


def test_a_daemon_that_refuses_a_ring_gets_no_more_of_them(path: Path) -> None:
    with connected(path) as (transport, daemon):
        ask(transport, 1, pixels(1))
        daemon.receive()
        answer(transport, daemon, 0)
        ask(transport, 2, pixels(2))
        assert (last(daemon.receive()) == 2).all()
        assert daemon.places[-1].where == ATTACHED


# Lent memory.


def lent(transport: LocalTransport, size_bytes: int = LARGE) -> Array:
    return np.frombuffer(transport.frame_memory(size_bytes), np.uint8)


def test_a_frame_in_lent_memory_is_read_where_it_lies(path: Path) -> None:
    with connected(path) as (transport, daemon):
        array = lent(transport)
        array[:] = 5
        ask(transport, 1, array)
        there = last(daemon.receive())
        assert (there == 5).all()
        array[7] = 6
        assert there[7] == 6
        # So is a part of it, and one that is seen in another shape.
        ask(transport, 2, array.reshape(250, 400)[10:240])
        part = last(daemon.receive())
        array[10 * 400] = 9
        assert (part[0], len(part)) == (9, 230 * 400)


def test_lent_memory_is_nobody_elses_while_it_is_used(path: Path) -> None:
    """Neither before its request, nor after the answer, nor on the next connection."""
    with Listener(path) as listener:
        transport = LocalTransport(path)
        transport.open()
        array = lent(transport)
        array[:] = 5
        for _ in range(2):
            with listener.accept(PATIENCE_S) as daemon:
                transport.receive(PATIENCE_S)
                ask(transport, 1, array)
                assert (last(daemon.receive()) == 5).all()
                answer(transport, daemon, 1)
                for request_id in range(2, 2 + 2 * SLOTS):
                    ask(transport, request_id, pixels(request_id))
                    daemon.receive()
                assert [place.where for place in daemon.places].count(1) == SLOTS
                assert (array == 5).all()
                transport.open()
        transport.close()


def test_a_slot_is_free_when_its_array_is_gone_and_its_request_answered(path: Path) -> None:
    with connected(path) as (transport, daemon):
        array = lent(transport)
        array[:] = 5
        ask(transport, 1, array)
        there = last(daemon.receive())
        view = array[5:]
        del array
        gc.collect()
        for request_id in range(2, 1 + SLOTS):
            ask(transport, request_id, pixels(request_id))
            daemon.receive()
        del view
        gc.collect()
        ask(transport, 1 + SLOTS, pixels(1))
        daemon.receive()
        assert daemon.places[-1].where == ATTACHED
        assert (there == 5).all()
        answer(transport, daemon, 1)
        ask(transport, 2 + SLOTS, pixels(6))
        daemon.receive()
        assert (daemon.places[-1].where, int(there[0])) == (1, 6)


def test_more_lent_memory_than_rings_can_hold_is_memory_like_any_other(path: Path) -> None:
    with connected(path) as (transport, daemon):
        arrays = [lent(transport) for _ in range(SLOTS * MAX_RINGS + 1)]
        for number, array in enumerate(arrays):
            array[:] = number
        for number, array in enumerate(arrays):
            ask(transport, 1 + number, array)
            assert (last(daemon.receive()) == number).all()
        assert daemon.places[-1].where == ATTACHED
        assert {place.where for place in daemon.places[:-1]} == {1, 2, 3, 4}


def test_lent_memory_outlives_its_transport(path: Path) -> None:
    with connected(path) as (transport, _):
        array = lent(transport)
    array[:] = 5
    with connected(path) as (another, daemon):
        ask(another, 1, array)
        assert (last(daemon.receive()) == 5).all()


# For users.


@pytest.fixture(params=["local", OLDER])
def either(request: pytest.FixtureRequest, runtime: Path) -> Path:
    """The runtime directory of a daemon with a local socket, and of one without."""
    if request.param == OLDER:
        (runtime / OLDER).touch()
    return runtime


def test_a_client_gives_buffers_of_the_registered_input(either: Path) -> None:
    with FakeDaemon(either), Client(either) as client:
        with pytest.raises(NotRegistered, match="register, or give both"):
            client.frame_buffer((4, 4))
        registration = client.register("digits", 25, 30)
        buffer = client.frame_buffer()
        assert (buffer.shape, str(buffer.dtype)) == (registration.input.shape, registration.input.dtype)
        buffer[:] = [[7, 1], [2, 3]]
        assert client.infer(buffer).outputs.tolist() == [[7, 1, 2, 3]]
        assert client.frame_buffer((3, 2), "float32").nbytes == 24


def test_a_client_sends_what_its_buffer_holds_at_the_time(either: Path) -> None:
    with FakeDaemon(either) as daemon, Client(either) as client:
        client.register("digits", 25, 30)
        buffer = client.frame_buffer(SHAPE, np.uint8)
        for number in range(20):
            buffer[:] = number
            assert client.infer(buffer).outputs.tolist() == [[number] * 4]
            # What else is sent meanwhile does not disturb it.
            assert client.infer(np.full(SHAPE, 99, np.uint8)).outputs.tolist() == [[99] * 4]
            assert (buffer == number).all()
        for connection in daemon.connections.values():
            assert connection.offers == [1]
            assert len({place.offset for place in connection.places if place.length == buffer.nbytes}) == 2


def test_a_buffer_is_sent_to_the_next_daemon_too(either: Path) -> None:
    with Client(either, timeout_s=60) as client:
        with FakeDaemon(either):
            client.register("digits", 25, 30)
            buffer = client.frame_buffer(SHAPE, np.uint8)
            buffer[:] = 3
            client.infer(buffer)
        with FakeDaemon(either):
            assert client.infer(buffer).outputs.tolist() == [[3] * 4]
    # And stays when the client is closed.
    buffer[:] = 4


def test_a_buffer_that_could_not_travel_is_refused(runtime: Path) -> None:
    with Client(runtime) as client, pytest.raises(Refusal, match="the limit is 67108864"):
        client.frame_buffer((8193, 8192), np.uint8)


def test_every_transport_has_buffers() -> None:
    large = TensorHeader("uint8", SHAPE)
    with Client(transport=MockTransport(lambda frame: frame[0, :10], input=large)) as client:
        client.register("digits", 25, 30)
        buffer = client.frame_buffer()
        buffer[:] = 8
        assert client.infer(buffer).outputs.tolist() == [[8.0] * 10]


def test_an_async_client_has_buffers_too(either: Path) -> None:
    async def test() -> None:
        async with AsyncClient(either) as client:
            await client.register("digits", 25, 30)
            buffers = [client.frame_buffer(SHAPE, np.uint8) for _ in range(3)]
            for number, buffer in enumerate(buffers):
                buffer[:] = number
            replies = await asyncio.gather(*map(client.infer, buffers))
            assert [int(reply.outputs[0, 0]) for reply in replies] == [0, 1, 2]

    with FakeDaemon(either):
        asyncio.run(test())
