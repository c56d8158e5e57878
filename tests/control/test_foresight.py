"""What the next plans are likely to want, and what of it is worth its memory."""

from __future__ import annotations

from collections.abc import Mapping

from schedulerd.control.foresight import LESS_MEMORY, SLOWER, Candidate, candidates, imagined, ranked
from schedulerd.control.holdings import Form
from tests.optimizer.problems import random_problem

SIZES = {"a": 10, "b": 20, "c": 40, "d": 80}


def form(digest: str) -> Form:
    return Form(digest, "onnxruntime", 1)


def found(*wanted: str, known_ms: Mapping[str, float]) -> dict[str, Candidate]:
    """`found("ab", "b", ...)`: one plan lacks `a` and `b`, another one `b`."""
    plans = [[form(digest) for digest in digests] for digests in wanted]
    known = {form(digest): ms for digest, ms in known_ms.items()}
    return {c.form.digest: c for c in candidates(plans, known, SIZES.__getitem__)}


def test_the_board_may_be_slower_soon_and_memory_shorter() -> None:
    problem = random_problem(1)
    slow, short = imagined(problem)
    assert slow.apps[0].blocks[0][0].latency_p95_ms == SLOWER * problem.apps[0].blocks[0][0].latency_p95_ms
    assert slow.limits == problem.limits
    assert short.limits.memory_bytes == int(LESS_MEMORY * problem.limits.memory_bytes)
    assert short.apps == problem.apps


def test_what_more_plans_want_counts_for_more() -> None:
    assert {d: c.plans for d, c in found("ab", "b", "bb", known_ms={}).items()} == {"a": 1, "b": 3}


def test_what_was_never_loaded_is_taken_to_load_as_what_was() -> None:
    """15 ms for 60 bytes."""
    known = found("abcd", known_ms={"b": 5.0, "c": 10.0})
    assert (known["a"].load_ms, known["b"].load_ms, known["d"].load_ms) == (2.5, 5.0, 20.0)


def test_nothing_is_known_before_anything_was_loaded() -> None:
    assert found("a", known_ms={})["a"].load_ms == 0.0


def names(chosen: list[Candidate]) -> str:
    return "".join(c.form.digest for c in chosen)


def test_what_saves_most_for_its_bytes_comes_first() -> None:
    dear = Candidate(form("d"), plans=1, load_ms=80.0, size_bytes=80)
    cheap = Candidate(form("c"), plans=1, load_ms=20.0, size_bytes=40)
    often = Candidate(form("b"), plans=3, load_ms=10.0, size_bytes=20)
    assert names(ranked([cheap, dear, often], 1000)) == "bdc"


def test_of_equal_benefit_what_more_plans_want_and_then_the_smaller_comes_first() -> None:
    equal = [Candidate(form(d), plans, 0.0, SIZES[d]) for d, plans in (("d", 2), ("c", 1), ("a", 1))]
    assert names(ranked(equal, 1000)) == "dac"


def test_no_more_is_taken_than_there_is_room_for_and_what_is_too_large_is_passed_over() -> None:
    of_all = [
        Candidate(form(d), 1, load_ms, SIZES[d]) for d, load_ms in (("a", 1.0), ("b", 4.0), ("c", 12.0), ("d", 80.0))
    ]
    assert names(ranked(of_all, 150)) == "dcba"
    assert names(ranked(of_all, 149)) == "dcb"
    assert names(ranked(of_all, 79)) == "cba"
    assert names(ranked(of_all, 45)) == "c"
    assert names(ranked(of_all, 0)) == names(ranked(of_all, -5)) == ""
