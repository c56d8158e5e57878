"""`MockTransport`: what an app's own tests use in a daemon's place."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import schedulerd_client
from schedulerd.wire.codec import Array
from schedulerd.wire.messages import Infer, Register
from schedulerd_client import AsyncClient, Camera, Client, MockTransport, TensorHeader
from schedulerd_client._transport import Transport

GREY = TensorHeader("uint8", (4, 4, 1))
TWO = TensorHeader("float32", (2,))
FRAME = np.full((4, 4, 1), 3, np.uint8)


def brightness(frame: Array) -> Array:
    return np.array([frame.mean(), frame.shape[0]])


def mock() -> MockTransport:
    return MockTransport(brightness, input=GREY, output=TWO, labels=("dark", "light"), route=("a", "b"), accuracy=0.5)


def test_it_is_a_transport() -> None:
    transport: Transport = mock()
    assert transport.fault() is None


def test_the_handlers_outputs_come_back_as_a_models() -> None:
    with Client(transport=mock()) as client:
        registration = client.register("digits", 25, 30, app="mine")
        reply = client.infer(FRAME)
    assert (registration.app, registration.labels, registration.input) == ("mine", ("dark", "light"), GREY)
    np.testing.assert_array_equal(reply.outputs, np.array([[3, 4]], np.float32), strict=True)
    assert (reply.route, reply.accuracy, reply.budget_ms) == (("a", "b"), 0.5, 25.0)


def test_several_outputs_come_back_as_a_tuple() -> None:
    def boxes(frame: Array) -> tuple[Array, Array]:
        return np.full(4, frame.max()), np.zeros((2, 3))

    described = (TensorHeader("float32", (4,)), TensorHeader("float32", (2, 3)))
    with Client(transport=MockTransport(boxes, input=GREY, outputs=described)) as client:
        registration = client.register("detector", 25, 30)
        reply = client.infer(FRAME)
    assert registration.outputs == described
    assert [o.shape for o in reply.outputs] == [(1, 4), (1, 2, 3)]
    assert reply.outputs[0].tolist() == [[3, 3, 3, 3]]


def by_exit(frame: Array) -> dict[str, Array]:
    return {"exit1": np.full(2, 1), "exit2": np.full(2, 2), "final": np.full(2, frame.mean())}


def test_a_model_with_exits_answers_with_those_that_are_asked_for() -> None:
    transport = MockTransport(by_exit, input=GREY, output=TWO, exits=("exit1", "exit2"))
    with Client(transport=transport) as client:
        registration = client.register("digits", 25, 30, late="exit", exits={"exit2": 0.5, "final": 0})
        plain = client.infer(FRAME)
        both = client.infer(FRAME, exits=["exit2", "exit1"])
        with pytest.raises(schedulerd_client.BadValue, match="no exit exit3"):
            client.infer(FRAME, exits=["exit3"])
    assert (registration.exits, registration.policy) == (("exit1", "exit2"), {"exit2": 0.5, "final": 0.0})
    assert (plain.exit, plain.left, plain.outputs.tolist()) == ("final", "end", [[3, 3]])
    assert (both.exit, both.left, both.exits) == ("exit2", "asked", ("exit2", "exit1"))
    assert [o.tolist() for o in both.outputs] == [[[2, 2]], [[1, 1]]]


def test_it_serves_the_async_client_too() -> None:
    async def test() -> list[float]:
        async with AsyncClient(transport=mock()) as client:
            await client.register("digits", 25, 30)
            assert (await client.infer(FRAME, exits=["final"])).exits == ("final",)
            replies = await asyncio.gather(*(client.infer(FRAME + n) for n in range(5)))
            return [float(r.outputs[0, 0]) for r in replies]

    assert asyncio.run(test()) == [3, 4, 5, 6, 7]


def test_it_keeps_what_the_app_asked() -> None:
    transport = mock()
    with Client(transport=transport) as client:
        client.register("digits", 25, 30)
        client.infer(FRAME)
        assert [type(request) for request in transport.requests] == [Register, Infer]


def test_it_refuses_what_a_daemon_refuses() -> None:
    with Client(transport=mock()) as client:
        with pytest.raises(schedulerd_client.NotRegistered):
            client.infer(FRAME)
        client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.AlreadyRegistered):
            client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.BadTensor):
            client.infer(FRAME.astype(np.float32))


def test_a_refusal_that_the_handler_raises_is_the_daemons() -> None:
    def overloaded(frame: object) -> Array:
        raise schedulerd_client.Overloaded("too many")

    with Client(transport=MockTransport(overloaded, input=GREY)) as client:
        client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.Overloaded, match="too many"):
            client.infer(FRAME)


def test_any_other_exception_of_the_handler_comes_out_of_the_call() -> None:
    def broken(frame: object) -> Array:
        raise schedulerd_client.TimedOut("as if")

    with Client(transport=MockTransport(broken, input=GREY)) as client:
        client.register("digits", 25, 30)
        with pytest.raises(schedulerd_client.TimedOut, match="as if"):
            client.infer(FRAME)


def test_the_handler_sees_the_frames_of_an_apps_camera() -> None:
    def size(frame: Array) -> Array:
        return np.array(frame.shape[:2])

    with Client(transport=MockTransport(size, input=GREY, output=TWO)) as client:
        registration = client.register("digits", 25, 30, camera=Camera(8, 6))
        assert registration.input == TensorHeader("uint8", (8, 6, 3))
        assert client.frame_buffer().shape == (8, 6, 3)
        assert client.infer(client.frame_buffer(), stream="door", frame=1).outputs.tolist() == [[8.0, 6.0]]
        with pytest.raises(schedulerd_client.BadTensor):
            client.infer(FRAME)
