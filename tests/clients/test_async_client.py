"""`AsyncClient` against real sockets: the same life as `Client`, with many frames in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import schedulerd_client
from schedulerd.wire.messages import Code, Infer, Register, Request, Unregister
from schedulerd_client import AsyncClient, Camera
from tests.clients.fakedaemon import OLDER, PATIENCE_S, FakeDaemon, Twist, frame
from tests.clients.tasks import begun

LONG_S = 60.0
SHORT_S = 0.4


@pytest.fixture(params=["local", OLDER])
def runtime(request: pytest.FixtureRequest, runtime: Path) -> Path:
    """Each test is made with the local socket, and with a daemon that has only ZeroMQ."""
    if request.param == OLDER:
        (runtime / OLDER).touch()
    return runtime


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """One test in an event loop of its own, within a test's patience."""

    async def patient() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await test()

    asyncio.run(patient())


async def numbers(client: AsyncClient, count: int) -> list[int]:
    """What came back for `count` frames asked at once, told by their numbers."""
    replies = await asyncio.gather(*(client.infer(frame(number)) for number in range(count)))
    return [int(reply.outputs[0, 0]) for reply in replies]


def test_an_app_registers_gets_outputs_and_says_goodbye(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime) as client:
            registration = await client.register("digits", 25, 30, priority=9, app="front", camera=Camera(4, 4))
            assert registration.app == "front"
            reply = await client.infer(frame(7), stream="door", frame=3)
            assert reply.outputs.tolist() == [[7, 1, 2, 3]]
            assert reply.budget_ms == 25

    with FakeDaemon(runtime) as daemon:
        run(test)
        daemon.wait_for(Unregister)
        registered, inferred = daemon.requests[:2]
    assert isinstance(registered, Register)
    assert isinstance(inferred, Infer)
    assert (registered.camera, inferred.stream, inferred.frame) == (Camera(4, 4), "door", 3)


def test_many_frames_in_flight_each_get_their_own_answer(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            assert await numbers(client, 200) == list(range(200))

    with FakeDaemon(runtime):
        run(test)


def test_answers_out_of_order_are_matched_by_id(runtime: Path) -> None:
    def every_second(request: Request) -> Twist | None:
        return Twist.HOLD if isinstance(request, Infer) and request.id % 2 == 0 else None

    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            assert await numbers(client, 50) == list(range(50))
            # The last one may be held until another comes.
            await client.unregister()

    with FakeDaemon(runtime, every_second):
        run(test)


def test_frames_asked_before_the_registration_is_answered_wait_for_it(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            _, *replies = await asyncio.gather(client.register("digits", 25, 30), client.infer(frame(1)))
            assert [r.outputs[0, 0] for r in replies] == [1]

    with FakeDaemon(runtime):
        run(test)


def test_frames_in_flight_are_asked_again_of_the_next_daemon(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            with FakeDaemon(runtime, lambda r: Twist.SILENT if isinstance(r, Infer) else None) as first:
                await client.register("digits", 25, 30)
                replies = asyncio.create_task(numbers(client, 20))
                await asyncio.to_thread(first.wait_for, Infer, 20)
            with FakeDaemon(runtime) as second:
                assert await replies == list(range(20))
                assert (second.count(Register), second.count(Infer)) == (1, 20)

    run(test)


def test_an_idle_app_registers_again_by_itself(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            with FakeDaemon(runtime):
                await client.register("digits", 25, 30)
            with FakeDaemon(runtime) as second:
                await asyncio.to_thread(second.wait_for, Register)

    run(test)


def test_a_daemon_that_is_stopping_is_waited_out(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            with FakeDaemon(runtime, lambda r: Code.SHUTTING_DOWN if isinstance(r, Infer) else None) as first:
                await client.register("digits", 25, 30)
                replies = asyncio.create_task(numbers(client, 5))
                await asyncio.to_thread(first.wait_for, Register, 2)
            with FakeDaemon(runtime):
                assert await replies == list(range(5))

    run(test)


def test_a_refusal_ends_only_the_call_that_it_answers(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            outcomes = await asyncio.gather(*(client.infer(frame(n)) for n in range(6)), return_exceptions=True)
            refused = [isinstance(outcome, schedulerd_client.Overloaded) for outcome in outcomes]
            assert refused == [False, True] * 3

    with FakeDaemon(runtime, lambda r: Code.OVERLOADED if isinstance(r, Infer) and r.id % 2 == 1 else None):
        run(test)


def test_without_a_daemon_it_is_unreachable(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=SHORT_S) as client:
            with pytest.raises(schedulerd_client.Unreachable, match=str(runtime)):
                await client.register("digits", 25, 30)

    run(test)


def silent_once(request: Request) -> Twist | None:
    """The first frame after a registration is not answered."""
    return Twist.SILENT if isinstance(request, Infer) and request.id == 2 else None


def test_a_time_out_ends_one_call_and_the_next_is_served(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=SHORT_S) as client:
            await client.register("digits", 25, 30)
            with pytest.raises(schedulerd_client.TimedOut):
                await client.infer(frame(1))
            assert (await client.infer(frame(2))).outputs[0, 0] == 2

    with FakeDaemon(runtime, silent_once):
        run(test)


def test_a_cancelled_call_leaves_the_others_alone(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            cancelled = await begun(client.infer(frame(1)))
            kept = await begun(client.infer(frame(2)))
            cancelled.cancel()
            assert (await kept).outputs[0, 0] == 2
            with pytest.raises(asyncio.CancelledError):
                await cancelled

    with FakeDaemon(runtime, silent_once):
        run(test)


def test_a_cancelled_call_is_not_asked_again_of_the_next_daemon(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            with FakeDaemon(runtime, lambda r: Twist.SILENT if isinstance(r, Infer) else None) as first:
                await client.register("digits", 25, 30)
                cancelled = asyncio.create_task(client.infer(frame(1)))
                await asyncio.to_thread(first.wait_for, Infer)
                cancelled.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await cancelled
            with FakeDaemon(runtime) as second:
                assert (await client.infer(frame(2))).outputs[0, 0] == 2
                assert second.count(Infer) == 1

    run(test)


def test_what_was_given_up_is_not_carried_out_by_a_daemon_that_comes_later(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=SHORT_S) as client:
            with pytest.raises(schedulerd_client.Unreachable):
                await client.register("digits", 25, 30, app="given-up")
            with FakeDaemon(runtime) as daemon:
                await client.register("digits", 25, 30, app="wanted")
                assert [r.app for r in daemon.requests if isinstance(r, Register)] == ["wanted"]

    run(test)


def test_closing_ends_the_calls_that_wait(runtime: Path) -> None:
    async def test() -> None:
        client = AsyncClient(runtime, timeout_s=LONG_S)
        waiting = await begun(client.infer(frame(1)))
        await client.close()
        await client.close()
        with pytest.raises(schedulerd_client.Closed):
            await waiting
        with pytest.raises(schedulerd_client.Closed):
            await client.infer(frame(2))

    run(test)
