"""What the watchdog reads of the gateway: when its last good turn was."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.serving.gateway import Gateway
from schedulerd.serving.handlers import Handlers
from schedulerd.wire.endpoints import Endpoints
from tests.fakes import FakeClock


def test_a_gateway_is_alive_as_of_its_last_turn_that_went_well(tmp_path: Path) -> None:
    clock = FakeClock()
    gateway = Gateway(Endpoints.within(tmp_path), Handlers(*[lambda *_: None] * 5), clock)
    clock.advance(3.0)
    gateway.turn()
    turned_s = gateway.alive_at_s
    assert turned_s == clock.now_s()
    gateway.close(1.0)
    clock.advance(3.0)
    with pytest.raises(ValueError, match="closed epoll"):
        gateway.turn()
    assert gateway.alive_at_s == turned_s, "sockets that nobody can read serve no one, though the lane goes on"
