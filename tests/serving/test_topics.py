"""Topics of listeners elsewhere: as many as anybody needs."""

from __future__ import annotations

from schedulerd.serving.topics import LONGEST_BYTES, MOST, Topics


def test_so_many_topics_are_fine_and_the_same_again_is_none_more() -> None:
    topics = Topics()
    for _ in range(2):
        assert all(topics.heed(b"\1%d" % number) for number in range(MOST))
    assert not topics.heed(b"\1more")


def test_who_leaves_makes_room() -> None:
    topics = Topics()
    for number in range(MOST):
        topics.heed(b"\1%d" % number)
    assert topics.heed(b"\0" + b"0")
    assert topics.heed(b"\1more")
    assert not topics.heed(b"\1one more")


def test_a_topic_that_no_event_has_is_too_much_by_its_length() -> None:
    topics = Topics()
    assert topics.heed(b"\1" + bytes(LONGEST_BYTES))
    assert not topics.heed(b"\1" + bytes(LONGEST_BYTES + 1))


def test_anything_else_is_nothing() -> None:
    assert Topics().heed(b"")
    assert Topics().heed(b"hello" * 100)
    assert Topics().heed(b"\0never heard of")
