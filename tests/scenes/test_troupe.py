"""Clients that come and go several times are one app each."""

from __future__ import annotations

from schedulerd.scenes.cast import Role
from schedulerd.scenes.record import AppRecord, Lost, Sample
from schedulerd.scenes.script import Cue, Join, Leave, Phase
from schedulerd.scenes.troupe import appearances, by_app


def role(app: str, joins: bool) -> Role:
    return Role(app, "m", 10.0, 5.0, 5, 0.0, 0, joins=joins)


def record(app: str, *times_s: float, lost: int = 0) -> AppRecord:
    samples = tuple(Sample(s, 1.0, 1.0, 5.0, True, None, 0.9, 1, ("original",)) for s in times_s)
    errors = tuple(Lost(0.0, "gone") for _ in range(lost))
    return AppRecord(app, "m", samples, len(samples) + lost, len(samples), errors, ended=True)


def test_each_join_has_a_client_of_its_own() -> None:
    phases = (Phase("one", 9.0, cues=(Cue(1.0, Leave("a")), Cue(2.0, Join("a")), Cue(3.0, Join("b")))),)
    made = appearances((role("a", True), role("b", False), role("c", False)), phases)
    assert [(r.app, r.joins) for r in made] == [("a", True), ("a", False), ("b", False)]


def test_what_was_seen_of_an_app_is_joined() -> None:
    told = by_app([record("a", 1.0, 2.0, lost=1), record("b", 3.0), record("a", 0.5, lost=1)])
    assert [r.app for r in told] == ["a", "b"]
    assert [s.at_s for s in told[0].samples] == [0.5, 1.0, 2.0]
    assert (told[0].sent, told[0].answered, told[0].lost, len(told[0].errors)) == (5, 3, 2, 2)
