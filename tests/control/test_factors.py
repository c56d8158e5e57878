"""How the profile's rows become what is expected now."""

from __future__ import annotations

from dataclasses import replace

from blockprofiles.contention import Slowdown
from blockprofiles.record import Row
from schedulerd.control.factors import Factors

ROW = Row("x", "onnxruntime", 1, 2.0, 3.0, 1000, cold_ms=2.5)


def test_without_corrections_the_profile_stands() -> None:
    assert Factors().block_ms("cam", 0, ROW) == (2.0, 3.0)


def test_an_app_that_takes_turns_finds_the_caches_cold() -> None:
    assert Factors(alone=False).block_ms("cam", 0, ROW)[0] == 2.5
    assert Factors(alone=False).block_ms("cam", 0, replace(ROW, cold_ms=None))[0] == 2.0


def test_typical_and_worst_times_have_factors_of_their_own() -> None:
    assert Factors(Slowdown(1.5, 2.0)).block_ms("cam", 0, ROW) == (3.0, 6.0)


def test_the_promise_never_falls_below_the_profile() -> None:
    assert Factors(Slowdown(0.8, 0.7)).block_ms("cam", 0, ROW) == (1.6, 3.0)


def test_the_worst_time_is_no_shorter_than_the_typical_one() -> None:
    assert Factors(Slowdown(4.0, 1.0)).block_ms("cam", 0, ROW) == (8.0, 8.0)


def test_what_a_block_did_counts_for_this_app_and_block_alone() -> None:
    factors = Factors(blobs={("cam", 0, "x"): 1.5})
    assert factors.block_ms("cam", 0, ROW) == (3.0, 4.5)
    assert factors.block_ms("cam", 1, ROW) == (2.0, 3.0)
    assert factors.block_ms("door", 0, ROW) == (2.0, 3.0)


def test_a_variant_that_has_not_run_is_taken_to_do_as_the_one_that_has() -> None:
    factors = Factors(blobs={("cam", 0, "x"): 1.5}, engines={("cam", 0, "onnxruntime"): 1.2})
    assert factors.of_block("cam", 0, ROW) == 1.5
    assert factors.of_block("cam", 0, replace(ROW, digest="y")) == 1.2
    assert factors.of_block("cam", 0, replace(ROW, digest="y", engine="torch")) == 1.0


def test_a_head_does_as_the_board_does() -> None:
    factors = Factors(Slowdown(1.5, 2.0), {("cam", 0, "x"): 3.0})
    assert factors.head_ms(ROW) == (3.0, 6.0)
