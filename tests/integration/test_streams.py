"""A whole daemon with clients that look at the same camera."""

from __future__ import annotations

import numpy as np
import pytest

from schedulerd_client import BadValue, Camera, Client
from tests.integration.daemons import Daemon

BUDGET_MS, RATE_HZ = 1000.0, 10.0


def test_two_clients_of_one_camera_share_their_blocks_and_see_no_difference(daemon: Daemon) -> None:
    with (
        Client(daemon.runtime, timeout_s=30.0) as first,
        Client(daemon.runtime, timeout_s=30.0) as second,
        daemon.control() as control,
    ):
        pair = (first, second)
        (full,) = (m["accuracy"] for m in control.models()["models"] if m["model"] == "digits-plain")
        # Both on the original blocks, however slow the machine is: on other ones each may have its own.
        apps = [client.register("digits-plain", BUDGET_MS, RATE_HZ, accuracy_floor=full) for client in pair]
        assert all(app.credit > 0 for app in apps)
        frames = np.random.default_rng(0).integers(0, 256, (20, *apps[0].input.shape), np.uint8)
        for number, frame in enumerate(frames):
            replies = [client.infer(frame, stream="door", frame=number) for client in pair]
            alone = [client.infer(frame) for client in pair]
            for shared, plain in zip(replies, alone, strict=True):
                if shared.route == plain.route:
                    # Not bit for bit: between the two the daemon may have merged blocks of the route.
                    np.testing.assert_allclose(shared.outputs, plain.outputs, rtol=1e-4, atol=1e-4)
        shown = {app["app"]: app["shared"] for app in control.apps()["apps"]}
    assert shown[apps[0].app] + shown[apps[1].app] > 0


def test_a_camera_for_a_network_of_grey_pictures_is_refused(daemon: Daemon) -> None:
    with Client(daemon.runtime, timeout_s=30.0) as client, pytest.raises(BadValue, match="not made of camera frames"):
        client.register("digits-plain", BUDGET_MS, RATE_HZ, camera=Camera(480, 640))
