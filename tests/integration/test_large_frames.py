"""Frames and outputs that are too large for a packet, between the SDK and a real daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blockstore.block import TensorSpec
from schedulerd.wire.codec import Array
from schedulerd_client import AsyncClient, Camera, Client, Reply
from tests.integration.daemons import PATIENCE_S, Daemon
from tests.profiles import tiny

SPEC = TensorSpec("float32", (3, 100, 100))
"""Of frames and outputs, 120 kB of either."""


@pytest.fixture
def daemon(tmp_path: Path, make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon with a model that gives back what it is given, as far as that is positive."""
    (tmp_path / "blobs").mkdir()
    files = tiny.Files(tmp_path / "blobs")
    mirror = tiny.model_of("mirror", {"only": (SPEC, SPEC, [files.put(tiny.identity(SPEC.shape))])})
    tiny.stored(mirror, files, tmp_path / "store")
    ready = make_daemon(tmp_path / "store")
    ready.start()
    return ready


def frame(number: int) -> Array:
    return np.full(SPEC.shape, number, np.float32)


def test_outputs_are_those_of_the_frame_whichever_way_it_came(daemon: Daemon) -> None:
    """In an array of the app's or in a buffer, over the local socket or ZeroMQ."""
    for endpoint in (str(daemon.runtime), f"ipc://{daemon.runtime}/infer.sock"):
        with Client(endpoint, timeout_s=PATIENCE_S) as client:
            client.register("mirror", budget_ms=1000, rate_hz=10)
            buffer = client.frame_buffer()
            replies = []
            for number in range(0, 40, 2):
                replies.append(client.infer(frame(number)))
                buffer[:] = number + 1
                replies.append(client.infer(buffer))
            # Each has outputs of its own, which later ones do not change.
            assert [(reply.outputs == n).all() for n, reply in enumerate(replies)] == [True] * 40
            assert not replies[0].outputs.flags.writeable


def test_several_frames_at_once_keep_their_order_and_none_is_refused(daemon: Daemon) -> None:
    async def test() -> None:
        async with AsyncClient(daemon.runtime, timeout_s=PATIENCE_S) as client:
            registration = await client.register("mirror", budget_ms=1000, rate_hz=10)
            assert registration.credit > 0
            got = []
            async for number, answer in client.infer_many(map(frame, range(50))):
                assert isinstance(answer, Reply)
                assert (answer.outputs == number).all()
                got.append(number)
            assert got == list(range(50))
            # More calls than may be open wait in line.
            replies = await asyncio.gather(*(client.infer(frame(n)) for n in range(4 * registration.credit)))
            assert [int(reply.outputs.max()) for reply in replies] == list(range(4 * registration.credit))

    asyncio.run(test())


def test_a_cameras_frames_are_read_where_they_lie(daemon: Daemon) -> None:
    with Client(daemon.runtime, timeout_s=PATIENCE_S) as client:
        client.register("mirror", budget_ms=1000, rate_hz=10, camera=Camera(200, 300))
        buffer = client.frame_buffer()
        assert (buffer.shape, str(buffer.dtype)) == ((200, 300, 3), "uint8")
        for level in (0, 255, 51):
            buffer[:] = level
            np.testing.assert_allclose(client.infer(buffer).outputs, level / 255, atol=1e-6)


def test_after_a_daemon_was_killed_its_successor_reads_the_same_buffers(daemon: Daemon) -> None:
    with Client(daemon.runtime, timeout_s=PATIENCE_S) as client:
        client.register("mirror", budget_ms=1000, rate_hz=10, app="cam")
        buffer = client.frame_buffer()
        buffer[:] = 7
        client.infer(buffer)
        daemon.kill()
        daemon.start()
        assert (client.infer(buffer).outputs == 7).all()
        assert (client.infer(frame(8)).outputs == 8).all()
        with daemon.control() as control:
            assert [app["app"] for app in control.apps()["apps"]] == ["cam"]
