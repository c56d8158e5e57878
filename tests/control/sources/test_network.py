"""Rates of network interfaces: captured, wrapped, made anew, and nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedulerd.control.readings import Interface
from schedulerd.control.sources.network import NetworkSource
from tests.fakes import FakeClock

HEADINGS = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast"
    "|bytes    packets errs drop fifo colls carrier compressed\n"
)


def line(name: str, received: int, sent: int) -> str:
    return f"{name:>6}: {received} 566510 0 0 0 0 0 0 {sent} 1234 0 0 0 0 0 0\n"


class Board:
    """A /proc/net/dev that a test writes, and the source that reads it."""

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.file = root / "net" / "dev"
        self.file.parent.mkdir()
        self.source = NetworkSource(self.clock, root)

    def shows(self, *lines: str, after_s: float = 1.0) -> tuple[Interface, ...] | None:
        self.clock.advance(after_s)
        self.file.write_text(HEADINGS + "".join(lines))
        found = self.source.read()
        assert found.keys() == {"interfaces"}
        interfaces: tuple[Interface, ...] | None = found["interfaces"]
        return interfaces


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_rates_are_in_bits_a_second_and_leave_the_loopback_out(board: Board) -> None:
    assert board.shows(line("lo", 500, 500), line("eth0", 1000, 2000)) is None, "one reading has no rate"
    rates = board.shows(line("lo", 9500, 9500), line("eth0", 251_000, 127_000), after_s=2.0)
    assert rates == (Interface("eth0", received_bps=1e6, sent_bps=5e5),)


def test_a_board_without_a_network_has_no_interface(board: Board) -> None:
    board.shows(line("lo", 1, 1))
    assert board.shows(line("lo", 2, 2)) == ()


def test_interfaces_come_and_go(board: Board) -> None:
    board.shows(line("eth0", 0, 0))
    assert board.shows(line("eth0", 0, 0), line("wlan0", 10**6, 0)) == (Interface("eth0", 0.0, 0.0),)
    later = board.shows(line("wlan0", 10**6 + 125, 0))
    assert later == (Interface("wlan0", received_bps=1000.0, sent_bps=0.0),)


def test_a_counter_of_32_bits_may_wrap(board: Board) -> None:
    board.shows(line("eth0", 2**32 - 1000, 0))
    assert board.shows(line("eth0", 250, 0)) == (Interface("eth0", received_bps=1e4, sent_bps=0.0),)


@pytest.mark.parametrize("before", [10**6, 2**31, 2**32 + 10**9, 2**63])
def test_an_interface_that_was_made_anew_counts_nothing(board: Board, before: int) -> None:
    """As a wrap, the step back would be more than any link of such a board carries."""
    board.shows(line("eth0", before, before))
    assert board.shows(line("eth0", 100, 0)) == (Interface("eth0", 0.0, 0.0),)


def test_a_clock_that_stands_still_or_steps_back_leaves_no_rate(board: Board) -> None:
    board.shows(line("eth0", 0, 0))
    assert board.shows(line("eth0", 1000, 0), after_s=0.0) is None
    assert board.shows(line("eth0", 2000, 0), after_s=-5.0) is None


def test_a_clock_that_jumps_by_400_days_leaves_rates_within_bounds(board: Board) -> None:
    board.shows(line("eth0", 2**32 - 1, 0))
    (rate,) = board.shows(line("eth0", 0, 10**6), after_s=400 * 86400.0) or ()
    assert 0 <= rate.received_bps < 1
    assert 0 <= rate.sent_bps < 1


def test_names_with_colons_and_a_thousand_interfaces_are_read(board: Board) -> None:
    lines = [line(f"veth{number}:1", 0, 0) for number in range(1000)]
    board.shows(*lines)
    rates = board.shows(*lines) or ()
    assert [rates[0].name, len(rates)] == ["veth0:1", 1000]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected the headings"),
        ("\x00\x01\x02", "expected the headings"),
        (HEADINGS + "eth0\n", "expected an interface and its 16 counters"),
        (HEADINGS + line("eth0", 0, 0).replace("1234", ""), "expected an interface and its 16 counters"),
        (HEADINGS + line("eth0", -1, 0), "expected an interface and its 16 counters"),
        (HEADINGS + line("eth0", 0, 0).replace("1234", "many"), "expected an interface and its 16 counters"),
        (HEADINGS + "eth0: 1" + " 1" * 10**5, "expected an interface and its 16 counters"),
    ],
)
def test_nonsense_raises(board: Board, text: str, reason: str) -> None:
    board.shows(line("eth0", 0, 0))
    board.file.write_text(text)
    with pytest.raises(ValueError, match=reason):
        board.source.read()


def test_bytes_that_are_no_text_and_a_file_that_is_gone_raise(board: Board) -> None:
    board.shows(line("eth0", 0, 0))
    board.file.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match="decode"):
        board.source.read()
    board.file.unlink()
    with pytest.raises(FileNotFoundError):
        board.source.read()


def test_this_machine_is_read() -> None:
    clock = FakeClock()
    source = NetworkSource(clock)
    source.read()
    clock.advance(1.0)
    assert isinstance(source.read()["interfaces"], tuple)
