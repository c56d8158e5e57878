"""Which daemon a client means, and what it says when nobody is there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from schedulerd.wire.endpoints import EndpointError
from schedulerd_client._where import absence, endpoints_of


@pytest.mark.parametrize("endpoint", ["/run/x", Path("/run/x"), "ipc:///run/x/infer.sock", "ipc:///run/x/control.sock"])
def test_a_directory_and_its_addresses_mean_the_same_daemon(endpoint: str | Path) -> None:
    found = endpoints_of(endpoint)
    assert (found.infer, found.control) == ("ipc:///run/x/infer.sock", "ipc:///run/x/control.sock")


def test_a_directory_that_is_too_long_is_refused_with_the_limit() -> None:
    with pytest.raises(EndpointError, match="107"):
        endpoints_of("/" + "x" * 120)


def test_a_daemon_that_is_not_there_is_named_with_the_command_that_starts_it(runtime: Path) -> None:
    assert "schedulerd run" in absence(f"ipc://{runtime}/infer.sock")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket")
def test_a_socket_that_may_not_be_opened_is_named_with_the_group_to_join(runtime: Path) -> None:
    path = runtime / "infer.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o400)
        assert "join the group" in absence(f"ipc://{path}")
