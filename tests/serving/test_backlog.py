"""What is kept for a client that does not read leaves in order, and is bounded."""

from __future__ import annotations

from collections.abc import Sequence

from schedulerd.serving.backlog import BACKLOG, BACKLOG_BYTES, Backlogs
from schedulerd.serving.counters import Dropped, Tally
from schedulerd.serving.handlers import Frame


def message(number: int) -> Sequence[Frame]:
    return (b"cam", str(number).encode())


def test_what_is_kept_leaves_in_order_and_what_has_no_room_stays() -> None:
    backlogs = Backlogs(Tally())
    for number in range(5):
        backlogs.keep(b"cam", message(number))
    sent: list[Sequence[Frame]] = []
    room = 3

    def send(frames: Sequence[Frame]) -> bool:
        if len(sent) == room:
            backlogs.keep(b"cam", frames)
            return False
        sent.append(frames)
        return True

    backlogs.retry(b"cam", send)
    assert b"cam" in backlogs
    room = 5
    backlogs.retry(b"cam", send)
    assert sent == [message(number) for number in range(5)]
    assert not backlogs


def test_beyond_the_bound_replies_are_dropped_and_counted() -> None:
    tally = Tally()
    backlogs = Backlogs(tally)
    for number in range(BACKLOG + 3):
        backlogs.keep(b"cam", message(number))
    assert tally.dropped() == Dropped(replies=3)
    assert list(backlogs) == [b"cam"]


def test_large_replies_are_bounded_by_their_bytes_and_one_of_any_size_is_kept() -> None:
    tally = Tally()
    backlogs = Backlogs(tally)
    large = memoryview(bytes(BACKLOG_BYTES // 2))
    backlogs.keep(b"huge", (b"huge", memoryview(bytes(BACKLOG_BYTES))))
    for _ in range(3):
        backlogs.keep(b"cam", (b"cam", large))
    assert tally.dropped() == Dropped(replies=2)


def test_a_client_that_is_gone_is_forgotten() -> None:
    backlogs = Backlogs(Tally())
    backlogs.keep(b"cam", message(1))
    backlogs.forget(b"cam")
    assert not backlogs
