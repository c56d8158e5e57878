"""What a probe and its far end say to each other, and addresses."""

from __future__ import annotations

import pytest

from schedulerd.wire.peer import MAX_ANSWER_BYTES, MAX_BYTES, Arrived, host_and_port


@pytest.mark.parametrize("arrived", [Arrived(0, 0), Arrived(1, 1), Arrived(MAX_BYTES + 65536, 999_999_999)])
def test_an_answer_is_read_as_it_was_written(arrived: Arrived) -> None:
    assert Arrived.of_line(arrived.line()) == arrived
    assert len(arrived.line()) <= MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"1 2", b"1\n", b"-1 2\n", b"1 2 3\n", b"1.5 2\n", b"1" * 32, b"1 2\n\n", b"\xff\xfe\n"]
)
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="expected bytes and microseconds"):
        Arrived.of_line(line)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.2:5201", ("10.0.0.2", 5201)),
        ("board.local:0", ("board.local", 0)),
        ("[fe80::2%eth0]:65535", ("fe80::2%eth0", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, expected: tuple[str, int]) -> None:
    assert host_and_port(address) == expected


@pytest.mark.parametrize("address", ["", "host", ":5201", "host:", "host:65536", "host:-1", "fe80::2:5201", "[]:1"])
def test_anything_else_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="is no address; write host:port"):
        host_and_port(address)
