"""Several requests of one `AsyncClient` at once: as many as the daemon allows, their answers in either order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from schedulerd.wire.codec import Array
from schedulerd.wire.messages import Code, Infer, Register, Request
from schedulerd_client import AlreadyRegistered, AsyncClient, Closed, Reply, TimedOut, Unreachable
from schedulerd_client._credit import Credit
from schedulerd_client._many import Answer
from tests.clients.fakedaemon import FakeDaemon, Twist, frame
from tests.clients.tasks import begun
from tests.clients.test_async_client import LONG_S, SHORT_S, run

CREDIT = 3


def held(request: Request) -> Twist | None:
    """Frames are answered when something else has been asked."""
    return Twist.HOLD if isinstance(request, Infer) else None


async def answer_all(client: AsyncClient) -> None:
    """Have the frames answered that the daemon holds."""
    with pytest.raises(AlreadyRegistered):
        await client.register("digits", 25, 30)


async def number_of(client: AsyncClient, number: int) -> int:
    return int((await client.infer(frame(number))).outputs[0, 0])


# Credit.


def test_no_more_requests_are_open_than_the_daemon_allows_and_they_are_sent_in_order(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            assert (await client.register("digits", 25, 30)).credit == CREDIT
            asking = asyncio.gather(*(number_of(client, number) for number in range(3 * CREDIT)))
            for batch in (1, 2, 3):
                # Registering comes after every frame that was sent, and frees their places.
                await asyncio.to_thread(daemon.wait_for, Infer, batch * CREDIT)
                await answer_all(client)
                assert [type(request) for request in daemon.requests].index(Register, 1) == 1 + CREDIT
            assert await asking == list(range(3 * CREDIT))
            asked = [request.id for request in daemon.requests if isinstance(request, Infer)]
            assert asked == sorted(asked)

    with FakeDaemon(runtime, held, CREDIT) as daemon:
        run(test)


def test_who_waits_for_room_waits_no_longer_than_the_time_out(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=SHORT_S) as client:
            await client.register("digits", 25, 30)
            outcomes = await asyncio.gather(*(number_of(client, n) for n in range(2 * CREDIT)), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == 2 * CREDIT * [TimedOut]
            said = [str(outcome) for outcome in outcomes]
            assert any(f"{CREDIT} requests are open" in words for words in said)

    with FakeDaemon(runtime, lambda request: Twist.SILENT if isinstance(request, Infer) else None, CREDIT):
        run(test)


def test_who_waits_for_room_hears_that_the_daemon_is_gone(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=SHORT_S) as client:
            with FakeDaemon(runtime, held, CREDIT):
                await client.register("digits", 25, 30)
            outcomes = await asyncio.gather(*(number_of(client, n) for n in range(2 * CREDIT)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {Unreachable}

    run(test)


def test_a_cancelled_call_gives_its_room_to_the_next(runtime: Path) -> None:
    """Whether it was sent already, or stood in the line."""

    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            calls = [await begun(number_of(client, number)) for number in range(2 * CREDIT)]
            await asyncio.to_thread(daemon.wait_for, Infer, CREDIT)
            for call in calls[1 : 2 * CREDIT - 1]:
                call.cancel()
            await asyncio.to_thread(daemon.wait_for, Infer, CREDIT + 1)
            await answer_all(client)
            assert [await calls[0], await calls[-1]] == [0, 2 * CREDIT - 1]

    with FakeDaemon(runtime, held, CREDIT) as daemon:
        run(test)


def test_closing_ends_those_that_wait_for_room(runtime: Path) -> None:
    async def test() -> None:
        client = AsyncClient(runtime, timeout_s=LONG_S)
        await client.register("digits", 25, 30)
        calls = [await begun(number_of(client, number)) for number in range(3 * CREDIT)]
        await client.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {Closed, int}
        assert Closed in {type(outcome) for outcome in outcomes}

    with FakeDaemon(runtime, lambda request: Twist.SILENT if isinstance(request, Infer) else None, CREDIT):
        run(test)


def test_a_turn_that_comes_to_somebody_who_leaves_is_the_next_ones() -> None:
    async def test() -> None:
        credit = Credit()
        assert await credit.take(1, LONG_S)
        leaving, next_ = await begun(credit.take(1, LONG_S)), await begun(credit.take(1, LONG_S))
        credit.give_back()
        leaving.cancel()
        assert await next_
        assert leaving.cancelled()
        credit.give_back()
        assert await credit.take(1, LONG_S)

    run(test)


def test_nobody_overtakes_the_line_when_more_is_allowed() -> None:
    async def test() -> None:
        credit = Credit()
        assert await credit.take(1, LONG_S)
        first, second = await begun(credit.take(1, LONG_S)), await begun(credit.take(2, LONG_S))
        credit.give_back()
        assert await first
        assert not second.done()
        credit.give_back()
        assert await second

    run(test)


# Many frames.


def told(answer: Answer) -> int | Code:
    """A reply by the number of its frame, a refusal by its code."""
    return int(answer.outputs[0, 0]) if isinstance(answer, Reply) else answer.code


def every_second_late(request: Request) -> Twist | None:
    """The answer to every second frame comes after the next one's."""
    return Twist.HOLD if isinstance(request, Infer) and request.id % 2 == 0 else None


def camera(count: int) -> Iterator[Array]:
    return (frame(number) for number in range(count))


async def async_camera(count: int) -> AsyncIterator[Array]:
    for number in range(count):
        await asyncio.sleep(0)
        yield frame(number)


@pytest.mark.parametrize("source", [camera, async_camera])
def test_answers_come_in_the_order_of_their_frames(runtime: Path, source: type) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            answers = [(number, told(answer)) async for number, answer in client.infer_many(source(40), at_once=4)]
            assert answers == [(number, number) for number in range(40)]

    with FakeDaemon(runtime, every_second_late):
        run(test)


def test_answers_come_as_they_are_made_where_order_does_not_matter(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            many = client.infer_many(camera(40), ordered=False, at_once=4)
            answers = [told((await anext(many))[1]) for _ in range(20)]
            assert sorted(answers) == list(range(1, 21))
            await many.aclose()

    with FakeDaemon(runtime, lambda request: Twist.SILENT if isinstance(request, Infer) and request.id == 2 else None):
        run(test)


def test_an_answer_is_handed_out_while_the_camera_has_no_next_frame(runtime: Path) -> None:
    async def test() -> None:
        answered = asyncio.Event()

        async def slow_camera() -> AsyncIterator[Array]:
            yield frame(0)
            await answered.wait()
            yield frame(1)

        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            got = []
            async for number, _ in client.infer_many(slow_camera()):
                got.append(number)
                answered.set()
            assert got == [0, 1]

    with FakeDaemon(runtime):
        run(test)


@pytest.mark.parametrize(("at_once", "most"), [(None, CREDIT), (2, 2), (100, CREDIT)])
def test_no_frame_is_taken_before_there_is_room_for_it(runtime: Path, at_once: int | None, most: int) -> None:
    async def test() -> None:
        taken = []

        def counted() -> Iterator[Array]:
            for number in range(3 * most):
                taken.append(number)
                yield frame(number)

        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            many = client.infer_many(counted(), at_once=at_once)
            first = asyncio.ensure_future(anext(many))
            await asyncio.to_thread(daemon.wait_for, Infer, most)
            await answer_all(client)
            assert (await first)[0] == 0
            assert len(taken) == most
            await many.aclose()

    with FakeDaemon(runtime, held, CREDIT) as daemon:
        run(test)


def test_a_refused_frame_does_not_end_the_others(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            answers = [told(answer) async for _, answer in client.infer_many(camera(4), at_once=2)]
            assert answers == [0, Code.DEADLINE_PASSED, 2, Code.DEADLINE_PASSED]

    late = lambda request: Code.DEADLINE_PASSED if isinstance(request, Infer) and request.id % 2 else None  # noqa: E731
    with FakeDaemon(runtime, late):
        run(test)


def test_any_other_error_is_raised_in_its_place_and_ends_the_rest(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=SHORT_S) as client:
            await client.register("digits", 25, 30)
            many = client.infer_many(camera(9), at_once=4)
            assert told((await anext(many))[1]) == 0
            with pytest.raises(TimedOut):
                await anext(many)
            assert len(asyncio.all_tasks()) == 2  # ours and the client's own

    with FakeDaemon(runtime, lambda request: Twist.SILENT if isinstance(request, Infer) and request.id == 3 else None):
        run(test)


def test_an_error_of_the_camera_is_raised(runtime: Path) -> None:
    def broken() -> Iterator[Array]:
        yield frame(0)
        raise OSError("unplugged")

    async def test() -> None:
        async with AsyncClient(runtime, timeout_s=LONG_S) as client:
            await client.register("digits", 25, 30)
            with pytest.raises(OSError, match="unplugged"):
                _ = [number async for number, _ in client.infer_many(broken())]

    with FakeDaemon(runtime):
        run(test)


def test_at_least_one_frame_must_be_open(runtime: Path) -> None:
    async def test() -> None:
        async with AsyncClient(runtime) as client:
            with pytest.raises(ValueError, match="must be from 1"):
                client.infer_many([], at_once=0)

    run(test)
